/** A client of `plasm web`: jobs, their events, and results whose receipts are verified here. */

import { fromUtf8, unbase64, type Bytes } from "./bytes.js";
import { digestAsync } from "./digest.js";
import { MAX_ENVELOPE_BYTES } from "./envelope.js";
import { PlasmError, ProblemError, ReceiptRejectedError, UnreachableError } from "./errors.js";
import { readEvents, type ServerEvent } from "./event-stream.js";
import { Http, pause, type HttpOptions } from "./http.js";
import { isLive, type Connection, type Job, type JobChange, type JobEvent, type JobResult, type NodeState, type Peer, type Sample } from "./jobs.js";
import { inputBytes, Manifest, MAX_MANIFEST_BYTES, type JobInput, type Terms } from "./manifest.js";
import { sentence, verifyReceipt, type Standing } from "./verify.js";
import { Batches } from "./web-batches.js";

const LONGEST_WAIT_S = 60, FIRST_PAUSE_S = 0.25, EVENT_IDLE_S = 90, LONGEST_PAUSE_S = 10, UPLOAD_DEADLINE_S = 3600;
const MAX_OUTPUT_BYTES = 256 << 20, MAX_MODULE_BYTES = 1 << 30;

export interface SubmitOptions extends Terms {
  /** Shown where the job is spoken of. */
  readonly name?: string | undefined;
  /** An https URL that is told of the job's end. */
  readonly webhook?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
  /** The most seconds to wait. */
  readonly timeoutS?: number | undefined;
}

export interface ResultOptions {
  readonly signal?: AbortSignal | undefined;
  /** The keys of nodes whose receipts count, in place of the node that the server names. */
  readonly trusted?: readonly string[] | undefined;
  /** The manifest as it was sent, if the caller has kept it. */
  readonly manifest?: Uint8Array | undefined;
  /** The most bytes of each output that are downloaded: 256 MiB. */
  readonly maxOutputBytes?: number | undefined;
}

export interface MapOptions extends SubmitOptions {
  /** The most jobs at once. */
  readonly concurrency?: number | undefined;
}

/** One job of a map: its result, or why it has none. */
export type Mapped = { readonly index: number } & (
  | { readonly result: JobResult; readonly error?: undefined }
  | { readonly error: Error; readonly result?: undefined }
);

export class PlasmClient {
  readonly http: Http;
  /** Batches that the server runs. */
  readonly batches: Batches;

  constructor(options: HttpOptions | string) {
    this.http = new Http(typeof options === "string" ? { url: options } : options);
    this.batches = new Batches(this.http);
  }

  /**
   * Submit a job. It is sent again if the connection fails: the job id makes that one job.
   *
   * Throws: `ProblemError` if it is refused, `UnreachableError`, `PlasmError` on input that is not well formed.
   */
  async submit(module: Uint8Array | Blob, input: JobInput = {}, options: SubmitOptions = {}): Promise<Job> {
    const bytes = module instanceof Blob ? new Uint8Array(await module.arrayBuffer()) : module;
    return this.send(await Manifest.of(bytes, input, options), input, options, bytes);
  }

  /** Submit a manifest with its input; `module`: its bytes, unless this token has sent them before. */
  async send(manifest: Manifest, input: JobInput, options: SubmitOptions, module?: Uint8Array): Promise<Job> {
    const { args, env, stdin } = inputBytes(input), form = new FormData();
    const part = (data: BlobPart, type: string) => new Blob([data], { type });
    // In JSON: a part that is text would have its line ends changed on the way.
    const description = {
      ...(options.name === undefined ? {} : { name: options.name }),
      args: args.map(textOf),
      env: env.map(textOf),
    };
    form.set("manifest", part(manifest.json, "application/json"), "manifest.json");
    form.set("job", part(JSON.stringify(description), "application/json"), "job.json");
    if (options.webhook !== undefined) form.set("webhook", options.webhook);
    if (module === undefined) form.set("moduleDigest", manifest.module);
    else form.set("module", part(module as Bytes, "application/wasm"), options.name ?? "module.wasm");
    if (stdin.length > 0) form.set("stdin", part(stdin as Bytes, "application/octet-stream"), "stdin");
    return this.http.json<Job>("/v1/jobs", {
      method: "POST", body: form, signal: options.signal, deadlineS: UPLOAD_DEADLINE_S,
    });
  }

  /** Show a job. */
  async status(jobId: string, signal?: AbortSignal): Promise<Job> {
    return this.http.json<Job>(`/v1/jobs/${jobId}`, { signal });
  }

  /** The jobs of this token, the latest first. */
  async list(options: { limit?: number; before?: string; signal?: AbortSignal } = {}): Promise<{ jobs: Job[]; next?: string }> {
    const query = new URLSearchParams();
    if (options.limit !== undefined) query.set("limit", String(options.limit));
    if (options.before !== undefined) query.set("before", options.before);
    return this.http.json(`/v1/jobs?${query}`, { signal: options.signal });
  }

  /** Wait for a job's end. Throws: `PlasmError` if it has not ended in time. */
  async wait(jobId: string, options: Waiting = {}): Promise<Job> {
    const until = options.timeoutS === undefined ? Number.POSITIVE_INFINITY : Date.now() + 1000 * options.timeoutS;
    for (;;) {
      const seconds = Math.max(0, Math.min(LONGEST_WAIT_S, Math.ceil((until - Date.now()) / 1000)));
      const job = await this.http.json<Job>(`/v1/jobs/${jobId}`, {
        headers: { Prefer: `wait=${seconds}` }, signal: options.signal, deadlineS: seconds + 30,
      });
      if (!isLive(job)) return job;
      if (Date.now() >= until) throw new PlasmError(`the job has not ended within ${options.timeoutS} s: it is ${job.state}`);
      await pause(0.1, options.signal); // where the server does not wait
    }
  }

  /** Submit a job, wait for its end, and return its verified result. */
  async run(module: Uint8Array | Blob, input: JobInput = {}, options: SubmitOptions & Waiting = {}): Promise<JobResult> {
    const job = await this.submit(module, input, options);
    await this.wait(job.jobId, options);
    return this.result(job.jobId, { signal: options.signal });
  }

  /**
   * Follow a job until its end. A lost connection is made again, and goes on where it was.
   *
   * Throws: `ProblemError` if there is no such job; the signal's reason if it aborts.
   */
  async *events(jobId: string, options: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<JobEvent> {
    for await (const event of this.stream(`/v1/jobs/${jobId}/events`, options.signal)) {
      const told = "event" in event ? eventOf(event.event, event.data) : event;
      if (told === undefined) continue;
      yield told;
      if (told.type === "end") return;
    }
  }

  /** Follow all jobs of this token: those that have not ended, then each whose state changes. Does not end by itself. */
  async *changes(options: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<JobChange> {
    for await (const event of this.stream("/v1/events", options.signal)) {
      if (!("event" in event)) yield event;
      else if (event.event === "job") yield { type: "status", job: JSON.parse(event.data) as Job };
    }
  }

  /** Read a stream of events, and connect again when it is lost. */
  private async *stream(path: string, outer: AbortSignal | undefined): AsyncGenerator<ServerEvent | Connection> {
    let last: string | undefined;
    for (let wait = FIRST_PAUSE_S; ; wait = Math.min(2 * wait, LONGEST_PAUSE_S)) {
      let problem: Error = new UnreachableError("the stream ended before the job");
      const idle = new AbortController();
      const signal = outer === undefined ? idle.signal : AbortSignal.any([outer, idle.signal]);
      let timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
      const heard = (): void => {
        clearTimeout(timer);
        timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
      };
      try {
        const response = await this.http.send(path, {
          headers: { Accept: "text/event-stream", ...(last === undefined ? {} : { "Last-Event-ID": last }) },
          signal, patienceS: 0,
        });
        if (response.status === 204) return;
        yield { type: "connected" };
        for await (const event of readEvents(watched(response, heard))) {
          if (event.event === "problem") {
            problem = new UnreachableError((JSON.parse(event.data) as { detail?: string }).detail ?? "the server had a problem");
            continue;
          }
          if (event.id !== "") last = event.id;
          wait = FIRST_PAUSE_S;
          yield event;
        }
      } catch (error) {
        outer?.throwIfAborted();
        if (error instanceof ProblemError && error.status < 500 && error.status !== 429 && error.status !== 408) throw error;
        if (error instanceof Error) problem = error;
      } finally {
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
  async result(jobId: string, options: ResultOptions = {}): Promise<JobResult> {
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
    const standing: Standing = job.node === node.peerId ? "own" : options.trusted?.includes(job.node) === true ? "named" : "stranger";
    const verification = await verifyReceipt(envelopeJson, {
      ...(options.trusted === undefined ? { peer: job.node } : { trusted: options.trusted }), jobId, manifest, stdout, stderr,
    });
    const { receipt } = verification;
    if (verification.decision !== "accept" || receipt === undefined) throw new ReceiptRejectedError(verification.reasons);
    if (job.outcome !== undefined && job.outcome.kind !== receipt.outcome.kind) {
      throw new ReceiptRejectedError([`the server says that the job ${job.outcome.kind}, the receipt ${receipt.outcome.kind}`]);
    }
    return { job, receipt, envelopeJson, verification, standing, words: sentence(verification, standing), stdout, stderr };
  }

  /** Download all of an output, unverified. Throws: `TooLargeError` also. */
  async output(jobId: string, stream: "stdout" | "stderr", options: ResultOptions = {}): Promise<Bytes> {
    const { signal, maxOutputBytes = MAX_OUTPUT_BYTES } = options;
    return this.http.bytes(`/v1/jobs/${jobId}/${stream}`, maxOutputBytes, { signal });
  }

  /** A job's manifest, as it was sent: its digest is the job id. */
  async manifest(jobId: string, signal?: AbortSignal): Promise<Bytes> {
    return this.http.bytes(`/v1/jobs/${jobId}/manifest`, MAX_MANIFEST_BYTES, { signal });
  }

  /** A module that this token has sent. Throws: `ReceiptRejectedError` if it has another digest. */
  async module(digest: string, signal?: AbortSignal): Promise<Bytes> {
    const bytes = await this.http.bytes(`/v1/modules/${digest}`, MAX_MODULE_BYTES, { signal });
    if ((await digestAsync(bytes)) !== digest) throw new ReceiptRejectedError(["the server sent another module"]);
    return bytes;
  }

  /** Cancel a job. */
  async cancel(jobId: string, signal?: AbortSignal): Promise<Job> {
    return this.http.json<Job>(`/v1/jobs/${jobId}`, { method: "DELETE", signal });
  }

  /** Delete an ended job's inputs, outputs and receipt on the node. */
  async release(jobId: string, signal?: AbortSignal): Promise<Job> {
    return this.http.json<Job>(`/v1/jobs/${jobId}/release`, { method: "POST", signal });
  }

  /** The daemon behind the server, and its health. */
  async node(signal?: AbortSignal): Promise<NodeState> {
    return this.http.json<NodeState>("/v1/node", { signal });
  }

  /** The daemon's counters over the last hour, the oldest sample first. */
  async history(signal?: AbortSignal): Promise<Sample[]> {
    return (await this.http.json<{ samples: Sample[] }>("/v1/node/history", { signal })).samples;
  }

  /** The nodes of the network that answer, the best first. */
  async peers(signal?: AbortSignal): Promise<{ peers: Peer[]; network: boolean }> {
    return this.http.json("/v1/peers", { signal, deadlineS: 90 });
  }

  /**
   * Run a module over many inputs, a bounded number at once. Results come in the order of the inputs.
   *
   * A job that fails to give a result is told by its `error`; the others go on. Ending the iteration cancels nothing
   * that was submitted.
   */
  async *map(
    module: Uint8Array | Blob, inputs: Iterable<JobInput> | AsyncIterable<JobInput>, options: MapOptions = {},
  ): AsyncGenerator<Mapped> {
    const bytes = module instanceof Blob ? new Uint8Array(await module.arrayBuffer()) : module;
    const atOnce = Math.max(1, options.concurrency ?? 8), started: Promise<Mapped>[] = [];
    let index = 0, sent: Promise<unknown> | undefined;
    const one = async (number: number, input: JobInput): Promise<Mapped> => {
      try {
        await (sent ??= this.upload(bytes, options.signal));
        const manifest = await Manifest.of(bytes, input, options);
        const job = await this.send(manifest, input, options);
        await this.wait(job.jobId, { signal: options.signal });
        return { index: number, result: await this.result(job.jobId, { signal: options.signal, manifest: manifest.json }) };
      } catch (error) {
        return { index: number, error: error instanceof Error ? error : new PlasmError(String(error)) };
      }
    };
    for await (const input of inputs) {
      started.push(one(index++, input));
      if (started.length >= atOnce) yield (await started.shift()) as Mapped;
    }
    for (const each of started) yield await each;
  }

  /** Send a module, for jobs that name it by its digest. Returns the digest. */
  async upload(module: Uint8Array, signal?: AbortSignal): Promise<string> {
    const digest = await digestAsync(module);
    await this.http.json(`/v1/modules/${digest}`, {
      method: "PUT", body: new Blob([module as Bytes], { type: "application/wasm" }), signal, deadlineS: UPLOAD_DEADLINE_S,
      headers: { "Content-Type": "application/wasm" },
    });
    return digest;
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes);
  } catch (error) {
    throw new PlasmError("args and env must be UTF-8 to go through the HTTP API", { cause: error });
  }
}

function watched(response: Response, heard: () => void): ReadableStream<Uint8Array> {
  const { body } = response;
  if (body === null) throw new UnreachableError("the event stream is empty");
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        heard();
        controller.enqueue(chunk);
      },
    }),
  );
}

function eventOf(name: string, data: string): JobEvent | undefined {
  const value = JSON.parse(data) as never;
  if (name === "status" || name === "end") return { type: name, job: value };
  if (name === "restart") return { type: name, attempt: Number((value as { attempt?: number }).attempt ?? value) };
  if (name !== "output") return undefined;
  const { stream, attempt, offset, data: text } = value as { stream: "stdout" | "stderr"; attempt: number; offset: number; data: string };
  return { type: "output", stream, attempt, offset, data: unbase64(text) };
}
