/** A client of `plasm web`: jobs, their events, and results whose receipts are verified here. */
import { fromUtf8, unbase64 } from "./bytes.js";
import { digestAsync } from "./digest.js";
import { MAX_ENVELOPE_BYTES } from "./envelope.js";
import { PlasmError, ProblemError, ReceiptRejectedError, UnreachableError } from "./errors.js";
import { readEvents } from "./event-stream.js";
import { Http, pause } from "./http.js";
import { isLive } from "./jobs.js";
import { inputBytes, Manifest, MAX_MANIFEST_BYTES } from "./manifest.js";
import { sentence, verifyReceipt } from "./verify.js";
import { Batches } from "./web-batches.js";
const LONGEST_WAIT_S = 60, FIRST_PAUSE_S = 0.25, EVENT_IDLE_S = 90, LONGEST_PAUSE_S = 10, UPLOAD_DEADLINE_S = 3600;
const MAX_OUTPUT_BYTES = 256 << 20, MAX_MODULE_BYTES = 1 << 30;
export class PlasmClient {
    http;
    /** Batches that the server runs. */
    batches;
    constructor(options) {
        this.http = new Http(typeof options === "string" ? { url: options } : options);
        this.batches = new Batches(this.http);
    }
    /**
     * Submit a job. It is sent again if the connection fails: the job id makes that one job.
     *
     * Throws: `ProblemError` if it is refused, `UnreachableError`, `PlasmError` on input that is not well formed.
     */
    async submit(module, input = {}, options = {}) {
        const bytes = module instanceof Blob ? new Uint8Array(await module.arrayBuffer()) : module;
        return this.send(await Manifest.of(bytes, input, options), input, options, bytes);
    }
    /** Submit a manifest with its input; `module`: its bytes, unless this token has sent them before. */
    async send(manifest, input, options, module) {
        const { args, env, stdin } = inputBytes(input), form = new FormData();
        const part = (data, type) => new Blob([data], { type });
        // In JSON: a part that is text would have its line ends changed on the way.
        const description = {
            ...(options.name === undefined ? {} : { name: options.name }),
            args: args.map(textOf),
            env: env.map(textOf),
        };
        form.set("manifest", part(manifest.json, "application/json"), "manifest.json");
        form.set("job", part(JSON.stringify(description), "application/json"), "job.json");
        if (options.webhook !== undefined)
            form.set("webhook", options.webhook);
        if (module === undefined)
            form.set("moduleDigest", manifest.module);
        else
            form.set("module", part(module, "application/wasm"), options.name ?? "module.wasm");
        if (stdin.length > 0)
            form.set("stdin", part(stdin, "application/octet-stream"), "stdin");
        return this.http.json("/v1/jobs", {
            method: "POST", body: form, signal: options.signal, deadlineS: UPLOAD_DEADLINE_S,
        });
    }
    /** Show a job. */
    async status(jobId, signal) {
        return this.http.json(`/v1/jobs/${jobId}`, { signal });
    }
    /** The jobs of this token, the latest first. */
    async list(options = {}) {
        const query = new URLSearchParams();
        if (options.limit !== undefined)
            query.set("limit", String(options.limit));
        if (options.before !== undefined)
            query.set("before", options.before);
        return this.http.json(`/v1/jobs?${query}`, { signal: options.signal });
    }
    /** Wait for a job's end. Throws: `PlasmError` if it has not ended in time. */
    async wait(jobId, options = {}) {
        const until = options.timeoutS === undefined ? Number.POSITIVE_INFINITY : Date.now() + 1000 * options.timeoutS;
        for (;;) {
            const seconds = Math.max(0, Math.min(LONGEST_WAIT_S, Math.ceil((until - Date.now()) / 1000)));
            const job = await this.http.json(`/v1/jobs/${jobId}`, {
                headers: { Prefer: `wait=${seconds}` }, signal: options.signal, deadlineS: seconds + 30,
            });
            if (!isLive(job))
                return job;
            if (Date.now() >= until)
                throw new PlasmError(`the job has not ended within ${options.timeoutS} s: it is ${job.state}`);
            await pause(0.1, options.signal); // where the server does not wait
        }
    }
    /** Submit a job, wait for its end, and return its verified result. */
    async run(module, input = {}, options = {}) {
        const job = await this.submit(module, input, options);
        await this.wait(job.jobId, options);
        return this.result(job.jobId, { signal: options.signal });
    }
    /**
     * Follow a job until its end. A lost connection is made again, and goes on where it was.
     *
     * Throws: `ProblemError` if there is no such job; the signal's reason if it aborts.
     */
    async *events(jobId, options = {}) {
        for await (const event of this.stream(`/v1/jobs/${jobId}/events`, options.signal)) {
            const told = "event" in event ? eventOf(event.event, event.data) : event;
            if (told === undefined)
                continue;
            yield told;
            if (told.type === "end")
                return;
        }
    }
    /** Follow all jobs of this token: those that have not ended, then each whose state changes. Does not end by itself. */
    async *changes(options = {}) {
        for await (const event of this.stream("/v1/events", options.signal)) {
            if (!("event" in event))
                yield event;
            else if (event.event === "job")
                yield { type: "status", job: JSON.parse(event.data) };
        }
    }
    /** Read a stream of events, and connect again when it is lost. */
    async *stream(path, outer) {
        let last;
        for (let wait = FIRST_PAUSE_S;; wait = Math.min(2 * wait, LONGEST_PAUSE_S)) {
            let problem = new UnreachableError("the stream ended before the job");
            const idle = new AbortController();
            const signal = outer === undefined ? idle.signal : AbortSignal.any([outer, idle.signal]);
            let timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
            const heard = () => {
                clearTimeout(timer);
                timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
            };
            try {
                const response = await this.http.send(path, {
                    headers: { Accept: "text/event-stream", ...(last === undefined ? {} : { "Last-Event-ID": last }) },
                    signal, patienceS: 0,
                });
                if (response.status === 204)
                    return;
                yield { type: "connected" };
                for await (const event of readEvents(watched(response, heard))) {
                    if (event.event === "problem") {
                        problem = new UnreachableError(JSON.parse(event.data).detail ?? "the server had a problem");
                        continue;
                    }
                    if (event.id !== "")
                        last = event.id;
                    wait = FIRST_PAUSE_S;
                    yield event;
                }
            }
            catch (error) {
                outer?.throwIfAborted();
                if (error instanceof ProblemError && error.status < 500 && error.status !== 429 && error.status !== 408)
                    throw error;
                if (error instanceof Error)
                    problem = error;
            }
            finally {
                clearTimeout(timer);
            }
            yield { type: "reconnect", problem };
            await pause(wait, outer);
        }
    }
    /**
     * Return an ended job's result: receipt and output, downloaded and verified.
     *
     * Throws: `ReceiptRejectedError` if the receipt is not that job's, is not signed by the node, contradicts itself or
     * the output; `ProblemError`; `UnreachableError`.
     */
    async result(jobId, options = {}) {
        const { signal } = options;
        const [job, node, envelopeJson, stdout, stderr, manifest] = await Promise.all([
            this.status(jobId, signal),
            this.node(signal),
            this.http.bytes(`/v1/jobs/${jobId}/receipt`, MAX_ENVELOPE_BYTES, {
                signal, headers: { Accept: "application/vnd.dsse.envelope.v1+json" },
            }),
            this.output(jobId, "stdout", options),
            this.output(jobId, "stderr", options),
            options.manifest ?? this.manifest(jobId, signal),
        ]);
        const standing = job.node === node.peerId ? "own" : options.trusted?.includes(job.node) === true ? "named" : "stranger";
        const verification = await verifyReceipt(envelopeJson, {
            ...(options.trusted === undefined ? { peer: job.node } : { trusted: options.trusted }), jobId, manifest, stdout, stderr,
        });
        const { receipt } = verification;
        if (verification.decision !== "accept" || receipt === undefined)
            throw new ReceiptRejectedError(verification.reasons);
        if (job.outcome !== undefined && job.outcome.kind !== receipt.outcome.kind) {
            throw new ReceiptRejectedError([`the server says that the job ${job.outcome.kind}, the receipt ${receipt.outcome.kind}`]);
        }
        return { job, receipt, envelopeJson, verification, standing, words: sentence(verification, standing), stdout, stderr };
    }
    /** Download all of an output, unverified. Throws: `TooLargeError` also. */
    async output(jobId, stream, options = {}) {
        const { signal, maxOutputBytes = MAX_OUTPUT_BYTES } = options;
        return this.http.bytes(`/v1/jobs/${jobId}/${stream}`, maxOutputBytes, { signal });
    }
    /** A job's manifest, as it was sent: its digest is the job id. */
    async manifest(jobId, signal) {
        return this.http.bytes(`/v1/jobs/${jobId}/manifest`, MAX_MANIFEST_BYTES, { signal });
    }
    /** A module that this token has sent. Throws: `ReceiptRejectedError` if it has another digest. */
    async module(digest, signal) {
        const bytes = await this.http.bytes(`/v1/modules/${digest}`, MAX_MODULE_BYTES, { signal });
        if ((await digestAsync(bytes)) !== digest)
            throw new ReceiptRejectedError(["the server sent another module"]);
        return bytes;
    }
    /** Cancel a job. */
    async cancel(jobId, signal) {
        return this.http.json(`/v1/jobs/${jobId}`, { method: "DELETE", signal });
    }
    /** Delete an ended job's inputs, outputs and receipt on the node. */
    async release(jobId, signal) {
        return this.http.json(`/v1/jobs/${jobId}/release`, { method: "POST", signal });
    }
    /** The daemon behind the server, and its health. */
    async node(signal) {
        return this.http.json("/v1/node", { signal });
    }
    /** The daemon's counters over the last hour, the oldest sample first. */
    async history(signal) {
        return (await this.http.json("/v1/node/history", { signal })).samples;
    }
    /** The nodes of the network that answer, the best first. */
    async peers(signal) {
        return this.http.json("/v1/peers", { signal, deadlineS: 90 });
    }
    /**
     * Run a module over many inputs, a bounded number at once. Results come in the order of the inputs.
     *
     * A job that fails to give a result is told by its `error`; the others go on. Ending the iteration cancels nothing
     * that was submitted.
     */
    async *map(module, inputs, options = {}) {
        const bytes = module instanceof Blob ? new Uint8Array(await module.arrayBuffer()) : module;
        const atOnce = Math.max(1, options.concurrency ?? 8), started = [];
        let index = 0, sent;
        const one = async (number, input) => {
            try {
                await (sent ??= this.upload(bytes, options.signal));
                const manifest = await Manifest.of(bytes, input, options);
                const job = await this.send(manifest, input, options);
                await this.wait(job.jobId, { signal: options.signal });
                return { index: number, result: await this.result(job.jobId, { signal: options.signal, manifest: manifest.json }) };
            }
            catch (error) {
                return { index: number, error: error instanceof Error ? error : new PlasmError(String(error)) };
            }
        };
        for await (const input of inputs) {
            started.push(one(index++, input));
            if (started.length >= atOnce)
                yield (await started.shift());
        }
        for (const each of started)
            yield await each;
    }
    /** Send a module, for jobs that name it by its digest. Returns the digest. */
    async upload(module, signal) {
        const digest = await digestAsync(module);
        await this.http.json(`/v1/modules/${digest}`, {
            method: "PUT", body: new Blob([module], { type: "application/wasm" }), signal, deadlineS: UPLOAD_DEADLINE_S,
            headers: { "Content-Type": "application/wasm" },
        });
        return digest;
    }
}
function textOf(bytes) {
    try {
        return fromUtf8(bytes);
    }
    catch (error) {
        throw new PlasmError("args and env must be UTF-8 to go through the HTTP API", { cause: error });
    }
}
function watched(response, heard) {
    const { body } = response;
    if (body === null)
        throw new UnreachableError("the event stream is empty");
    return body.pipeThrough(new TransformStream({
        transform(chunk, controller) {
            heard();
            controller.enqueue(chunk);
        },
    }));
}
function eventOf(name, data) {
    const value = JSON.parse(data);
    if (name === "status" || name === "end")
        return { type: name, job: value };
    if (name === "restart")
        return { type: name, attempt: Number(value.attempt ?? value) };
    if (name !== "output")
        return undefined;
    const { stream, attempt, offset, data: text } = value;
    return { type: "output", stream, attempt, offset, data: unbase64(text) };
}
