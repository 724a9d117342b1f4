/** A client of `plasm web`: jobs, their events, and results whose receipts are verified here. */
import { Deadline, eachWithin, within } from "./deadline.js";
import { digestAsync } from "./digest.js";
import { MAX_ENVELOPE_BYTES } from "./envelope.js";
import { PlasmError, ProblemError, ReceiptRejectedError } from "./errors.js";
import { Http, longPollS, pause } from "./http.js";
import { followJob, followJobs } from "./job-events.js";
import { JobTree } from "./job-tree.js";
import { isLive } from "./jobs.js";
import { Manifest, MAX_MANIFEST_BYTES } from "./manifest.js";
import { listResultFiles } from "./result-files.js";
import { submissionForm } from "./submission-form.js";
import { sentence, verifyReceipt } from "./verify.js";
import { Batches } from "./web-batches.js";
const UPLOAD_DEADLINE_S = 3600, PEERS_DEADLINE_S = 90;
const MAX_OUTPUT_BYTES = 256 << 20, MAX_MODULE_BYTES = 1 << 30;
/** A tree with a longer pack is not sent before it is known that the server lacks it. */
const ASKED_FOR_BYTES = 64 << 10;
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
     * Throws: `ProblemError` if it is refused, `UnreachableError`, `PlasmError` on input that is not well formed,
     * `WaitTimeoutError`.
     */
    async submit(module, input = {}, options = {}) {
        return within(options, "the job is not known to be accepted", async (signal) => {
            const bytes = await bytesOf(module), own = await withTree(input);
            return this.send(await Manifest.of(bytes, own, options), own, { ...options, signal, timeoutS: undefined }, bytes);
        });
    }
    /** Submit a manifest with its input; `module`: its bytes, unless this token has sent them before. Throws: as `submit`. */
    async send(manifest, input, options, module) {
        return within(options, "the job is not known to be accepted", async (signal) => {
            const tree = await JobTree.from(input);
            const post = (known) => this.http.json("/v1/jobs", {
                method: "POST", body: submissionForm(manifest, input, options, module, tree, known), signal, deadlineS: UPLOAD_DEADLINE_S,
            });
            if (tree === undefined || tree.sizeBytes < ASKED_FOR_BYTES || !(await this.hasTree(tree.digest, signal)))
                return post(false);
            try {
                return await post(true);
            }
            catch (error) {
                if (!(error instanceof ProblemError) || error.code !== "unknown_tree")
                    throw error;
                return post(false); // deleted in between
            }
        });
    }
    /** Whether the server has a tree that this token has sent. */
    async hasTree(digest, signal) {
        try {
            await this.http.json(`/v1/trees/${digest}`, { signal });
            return true;
        }
        catch (error) {
            if (error instanceof ProblemError && error.status === 404)
                return false;
            throw error;
        }
    }
    /** Show a job. */
    async status(jobId, waiting = {}) {
        return this.http.json(`/v1/jobs/${jobId}`, waiting);
    }
    /** The jobs of this token, the latest first. */
    async list(options = {}) {
        const query = new URLSearchParams(), { limit, before, ...waiting } = options;
        if (limit !== undefined)
            query.set("limit", String(limit));
        if (before !== undefined)
            query.set("before", before);
        return this.http.json(`/v1/jobs?${query}`, waiting);
    }
    /** Wait for a job's end. Throws: `WaitTimeoutError` if it has not ended in time. */
    async wait(jobId, waiting = {}) {
        return within(waiting, "the job has not ended", async (signal, deadline) => {
            for (;;) {
                const seconds = longPollS(deadline.leftS);
                const job = await this.http.json(`/v1/jobs/${jobId}`, {
                    headers: { Prefer: `wait=${seconds}` }, signal, deadlineS: seconds + 30,
                });
                if (!isLive(job))
                    return job;
                deadline.known = `it is ${job.state}`;
                await pause(0.1, signal); // where the server does not wait
            }
        });
    }
    /** Submit a job, wait for its end, and return its verified result. */
    async run(module, input = {}, options = {}) {
        return within(options, "the job has no result", async (signal, deadline) => {
            const job = await this.submit(module, input, { ...options, signal, timeoutS: undefined });
            deadline.known = `it is ${job.state}`;
            if (isLive(job))
                await this.wait(job.jobId, { signal });
            return this.result(job.jobId, { signal });
        });
    }
    /**
     * Follow a job until its end. After a lost connection the client reconnects and continues behind the last event.
     *
     * Throws: `ProblemError` if there is no such job; `WaitTimeoutError`; the signal's reason if it aborts.
     */
    async *events(jobId, waiting = {}) {
        yield* eachWithin(waiting, "the job has not ended", (signal) => followJob(this.http, jobId, signal));
    }
    /** Follow all jobs of this token: those that have not ended, then each whose state changes. Does not end by itself. */
    async *changes(waiting = {}) {
        yield* eachWithin(waiting, "the stream of changes has not ended", (signal) => followJobs(this.http, signal));
    }
    /**
     * Return an ended job's result: receipt and output, downloaded and verified, and the verified list of its files.
     *
     * Throws: `ReceiptRejectedError` if the receipt is not that job's, is not signed by the node, contradicts itself,
     * the output or the list of files; `ProblemError`; `UnreachableError`; `WaitTimeoutError`.
     */
    async result(jobId, options = {}) {
        return within(options, "the result has not come", (signal) => this.verified(jobId, { ...options, signal, timeoutS: undefined }, signal));
    }
    async verified(jobId, options, signal) {
        const [job, node, envelopeJson, stdout, stderr, manifest] = await Promise.all([
            this.status(jobId, { signal }),
            this.node({ signal }),
            this.http.bytes(`/v1/jobs/${jobId}/receipt`, MAX_ENVELOPE_BYTES, {
                signal, headers: { Accept: "application/vnd.dsse.envelope.v1+json" },
            }),
            this.output(jobId, "stdout", options),
            this.output(jobId, "stderr", options),
            options.manifest ?? this.manifest(jobId, { signal }),
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
        const files = await listResultFiles(this.http, `/v1/jobs/${jobId}`, receipt, signal);
        return { job, receipt, envelopeJson, verification, standing, words: sentence(verification, standing), stdout, stderr, files };
    }
    /** Download all of an output, unverified. Throws: `TooLargeError` also. */
    async output(jobId, stream, options = {}) {
        const { signal, timeoutS, maxOutputBytes = MAX_OUTPUT_BYTES } = options;
        return this.http.bytes(`/v1/jobs/${jobId}/${stream}`, maxOutputBytes, { signal, timeoutS });
    }
    /** A job's manifest, as it was sent: its digest is the job id. */
    async manifest(jobId, waiting = {}) {
        return this.http.bytes(`/v1/jobs/${jobId}/manifest`, MAX_MANIFEST_BYTES, waiting);
    }
    /** A module that this token has sent. Throws: `ReceiptRejectedError` if it has another digest. */
    async module(digest, waiting = {}) {
        const bytes = await this.http.bytes(`/v1/modules/${digest}`, MAX_MODULE_BYTES, waiting);
        if ((await digestAsync(bytes)) !== digest)
            throw new ReceiptRejectedError(["the server sent another module"]);
        return bytes;
    }
    /** Cancel a job. */
    async cancel(jobId, waiting = {}) {
        return this.http.json(`/v1/jobs/${jobId}`, { method: "DELETE", ...waiting });
    }
    /** Delete an ended job's inputs, outputs and receipt on the node. */
    async release(jobId, waiting = {}) {
        return this.http.json(`/v1/jobs/${jobId}/release`, { method: "POST", ...waiting });
    }
    /** The daemon behind the server, and its health. */
    async node(waiting = {}) {
        return this.http.json("/v1/node", waiting);
    }
    /** The daemon's counters over the last hour, the oldest sample first. */
    async history(waiting = {}) {
        return (await this.http.json("/v1/node/history", waiting)).samples;
    }
    /** The nodes of the network that answer, the best first. */
    async peers(waiting = {}) {
        return this.http.json("/v1/peers", { ...waiting, deadlineS: PEERS_DEADLINE_S });
    }
    /**
     * Run a module over many inputs, a bounded number at once. Results come in the order of the inputs.
     *
     * A job without a result has an `error`; the others continue. At the deadline each job without a
     * result has a `WaitTimeoutError`; if there were more inputs, the iteration ends with one too. Ending the iteration
     * cancels nothing that was submitted.
     */
    async *map(module, inputs, options = {}) {
        const { concurrency = 8, ...terms } = options, atOnce = Math.max(1, concurrency), started = [];
        const bytes = await bytesOf(module), source = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]();
        const deadline = new Deadline(options, "the map has not ended"), { signal } = deadline;
        const trees = new Map();
        let sent;
        const one = async (index, input) => {
            try {
                await (sent ??= this.upload(bytes, { signal }));
                const own = await withTree(input), manifest = await Manifest.of(bytes, own, options);
                const tree = own.files instanceof JobTree ? own.files.digest : "", first = trees.get(tree);
                await first?.catch(() => undefined); // the server has the tree then
                const sending = this.send(manifest, own, { ...terms, signal, timeoutS: undefined });
                if (tree !== "" && first === undefined)
                    trees.set(tree, sending);
                const job = await sending;
                await this.wait(job.jobId, { signal });
                return { index, result: await this.result(job.jobId, { signal, manifest: manifest.json }) };
            }
            catch (error) {
                return { index, error: error instanceof Error ? error : new PlasmError(String(error)) };
            }
        };
        let index = 0, left = true;
        try {
            while (!signal.aborted) {
                const next = await deadline.until(Promise.resolve(source.next())).catch((error) => {
                    if (!signal.aborted)
                        throw error;
                });
                if (next === undefined)
                    break;
                if (next.done === true) {
                    left = false;
                    break;
                }
                started.push(one(index++, next.value));
                if (started.length >= atOnce)
                    yield (await started.shift());
            }
            for (const each of started)
                yield await each;
            if (left)
                signal.throwIfAborted();
        }
        finally {
            deadline.end();
            if (left)
                void Promise.resolve(source.return?.()).catch(() => undefined);
        }
    }
    /** Send a module, for jobs that name it by its digest. Returns the digest. */
    async upload(module, waiting = {}) {
        const digest = await digestAsync(module);
        await this.http.json(`/v1/modules/${digest}`, {
            method: "PUT", body: new Blob([module], { type: "application/wasm" }), ...waiting, deadlineS: UPLOAD_DEADLINE_S,
            headers: { "Content-Type": "application/wasm" },
        });
        return digest;
    }
}
async function bytesOf(module) {
    return module instanceof Blob ? new Uint8Array(await module.arrayBuffer()) : module;
}
/** The input with its files as a tree, which is digested and read once. */
async function withTree(input) {
    const { args, env, stdin } = input, files = await JobTree.from(input);
    return files === undefined ? input : { args, env, stdin, files };
}
