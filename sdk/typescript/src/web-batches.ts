/** Batches that `plasm web` runs: many jobs of one module in one request, and results that the client verifies. */

import { fromUtf8, hex, type Bytes } from "./bytes.js";
import { eachWithin, within, type Waiting } from "./deadline.js";
import { MAX_ENVELOPE_BYTES } from "./envelope.js";
import { ReceiptRejectedError } from "./errors.js";
import { longPollS, pause, type Http } from "./http.js";
import { JobTree, type InputFiles } from "./job-tree.js";
import { MAX_MANIFEST_BYTES } from "./manifest.js";
import type { Outcome, Receipt } from "./receipt.js";
import { listResultFiles, type ResultFiles } from "./result-files.js";
import { verifyReceipt, type Verification } from "./verify.js";

const UPLOAD_DEADLINE_S = 3600, PAGE = 500;
const MAX_OUTPUT_BYTES = 256 << 20, MAX_BATCH_BYTES = 256 << 20, BATCH_ID_BYTES = 16;

/** A job of a batch as it is submitted: a line of `plasm map --jobs`. */
export interface JobDescription {
  readonly name?: string;
  readonly args?: readonly string[];
  /** NAME=VALUE each. */
  readonly env?: readonly string[];
  readonly stdin?: string;
  readonly stdin_base64?: string;
  readonly gas?: number;
  readonly memory_bytes?: number;
  readonly output_bytes?: number;
  readonly wall_time_s?: number;
  readonly seed?: string;
  readonly grants?: readonly string[];
}

export type BatchCounts = Readonly<Record<"waiting" | "sent" | "succeeded" | "failed" | "error" | "cancelled", number>>;

export interface Batch {
  readonly batchId: string;
  readonly name: string;
  readonly module: string;
  readonly createdAt: string;
  readonly finishedAt?: string;
  readonly state: "waiting" | "running" | "ended" | "cancelled" | "failed";
  readonly jobs: number;
  readonly counts: BatchCounts;
  readonly problem?: string;
  readonly released: boolean;
}

export interface BatchJob {
  readonly number: number;
  readonly input: string;
  readonly state: keyof BatchCounts;
  readonly jobId?: string;
  readonly taskDigest?: string;
  readonly outcome?: Outcome;
  readonly gasUsed?: number;
  readonly node?: string;
  readonly durationMs?: number;
  readonly reason?: string;
}

/** A job's verified receipt and output. */
export interface BatchJobResult {
  readonly receipt: Receipt;
  readonly envelopeJson: Bytes;
  readonly verification: Verification;
  readonly stdout: Bytes;
  readonly stderr: Bytes;
  /** What the job left. */
  readonly files: ResultFiles;
}

export interface BatchOptions extends Waiting {
  readonly name?: string | undefined;
  /** 32 random hexadecimal digits: the request may be repeated with them. */
  readonly batchId?: string | undefined;
  /** The files that all jobs get. */
  readonly files?: InputFiles | JobTree | undefined;
  /** The paths whose files are kept of each job. */
  readonly outputs?: readonly string[] | undefined;
}

/** Whether a batch has not ended. */
export function goesOn(batch: Batch): boolean {
  return batch.state === "waiting" || batch.state === "running";
}

export class Batches {
  constructor(private readonly http: Http) {}

  /**
   * Submit jobs of one module. It is sent again if the connection fails: the batch id makes that one batch.
   *
   * Throws: `ProblemError` if it is refused, which names the wrong line; `UnreachableError`.
   */
  async submit(
    module: Uint8Array | Blob, jobs: Iterable<JobDescription>, options: BatchOptions = {},
  ): Promise<Batch> {
    const form = new FormData(), tree = await JobTree.from(options), lines = [...jobs].map((job) => `${JSON.stringify(job)}\n`);
    form.set("batchId", options.batchId ?? hex(crypto.getRandomValues(new Uint8Array(BATCH_ID_BYTES))));
    if (options.name !== undefined) form.set("name", options.name);
    form.set("jobs", new Blob(lines, { type: "application/x-ndjson" }), "jobs.jsonl");
    form.set("module", new Blob([module as Bytes], { type: "application/wasm" }), options.name ?? "module.wasm");
    if (tree !== undefined) {
      form.set("files", JSON.stringify({ outputs: tree.outputs, read_only: tree.readOnly }));
      form.set("pack", tree.pack(), "pack");
    }
    const { signal, timeoutS } = options;
    return this.http.json<Batch>("/v1/batches", { method: "POST", body: form, signal, timeoutS, deadlineS: UPLOAD_DEADLINE_S });
  }

  /** The batches of this token, the latest first. */
  async list(waiting: Waiting = {}): Promise<Batch[]> {
    return (await this.http.json<{ batches: Batch[] }>("/v1/batches", waiting)).batches;
  }

  async show(batchId: string, waiting: Waiting = {}): Promise<Batch> {
    return this.http.json<Batch>(`/v1/batches/${batchId}`, waiting);
  }

  /** Wait for a batch's end. Throws: `WaitTimeoutError` if it has not ended in time. */
  async wait(batchId: string, waiting: Waiting = {}): Promise<Batch> {
    return within(waiting, "the batch has not ended", async (signal, deadline) => {
      for (;;) {
        const seconds = longPollS(deadline.leftS);
        const batch = await this.http.json<Batch>(`/v1/batches/${batchId}`, {
          signal, deadlineS: seconds + 30, headers: { Prefer: `wait=${seconds}` },
        });
        if (!goesOn(batch)) return batch;
        await pause(0.1, signal); // where the server does not wait
      }
    });
  }

  /** The jobs of a batch, in order. */
  async *jobs(batchId: string, waiting: Waiting = {}): AsyncGenerator<BatchJob> {
    yield* eachWithin(waiting, "the jobs of the batch have not all come", (signal) => this.pages(batchId, signal));
  }

  private async *pages(batchId: string, signal: AbortSignal): AsyncGenerator<BatchJob> {
    for (let after: string | undefined; ; ) {
      const query = after === undefined ? "" : `&after=${after}`;
      const page = await this.http.json<{ jobs: BatchJob[]; next?: string }>(`/v1/batches/${batchId}/jobs?limit=${PAGE}${query}`, { signal });
      yield* page.jobs;
      if (page.next === undefined) return;
      after = page.next;
    }
  }

  /**
   * Return the result of an ended job: receipt and output, downloaded and verified. The receipt has to be signed by one
   * of `trusted`, the node that the caller trusts.
   *
   * Throws: `ReceiptRejectedError`; `ProblemError`, with the code `no_receipt` if the job has none; `UnreachableError`.
   */
  async result(batchId: string, number: number, trusted: readonly string[], waiting: Waiting = {}): Promise<BatchJobResult> {
    const path = `/v1/batches/${batchId}/jobs/${number}`;
    return within(waiting, "the result has not come", async (signal) => {
      const [envelopeJson, manifest, stdout, stderr] = await Promise.all([
        this.http.bytes(`${path}/receipt`, MAX_ENVELOPE_BYTES, { signal }),
        this.http.bytes(`${path}/manifest`, MAX_MANIFEST_BYTES, { signal }),
        this.http.bytes(`${path}/stdout`, MAX_OUTPUT_BYTES, { signal }),
        this.http.bytes(`${path}/stderr`, MAX_OUTPUT_BYTES, { signal }),
      ]);
      const verification = await verifyReceipt(envelopeJson, { trusted, manifest, stdout, stderr });
      const { receipt } = verification;
      if (verification.decision !== "accept" || receipt === undefined) throw new ReceiptRejectedError(verification.reasons);
      return { receipt, envelopeJson, verification, stdout, stderr, files: await listResultFiles(this.http, path, receipt, signal) };
    });
  }

  /** The receipt of an ended batch, for `verifyBatch`. The server has no key to sign it. */
  async receipt(batchId: string, waiting: Waiting = {}): Promise<Bytes> {
    return this.http.bytes(`/v1/batches/${batchId}/receipt`, MAX_BATCH_BYTES, waiting);
  }

  /** The receipt of a job with the proof that it belongs to the batch, as text. */
  async proof(batchId: string, number: number, waiting: Waiting = {}): Promise<string> {
    return fromUtf8(await this.http.bytes(`/v1/batches/${batchId}/jobs/${number}/proof`, MAX_ENVELOPE_BYTES * 2, waiting));
  }

  /** Cancel the jobs that have no result. */
  async cancel(batchId: string, waiting: Waiting = {}): Promise<Batch> {
    return this.http.json<Batch>(`/v1/batches/${batchId}`, { method: "DELETE", ...waiting, deadlineS: 60 });
  }

  /** Delete an ended batch with its results on the server. */
  async release(batchId: string, waiting: Waiting = {}): Promise<Batch> {
    return this.http.json<Batch>(`/v1/batches/${batchId}/release`, { method: "POST", ...waiting });
  }
}
