/** Jobs, nodes and peers as the HTTP API shows them (docs/openapi.json). */

import type { Bytes } from "./bytes.js";
import type { JobFiles } from "./job-files.js";
import type { Outcome, Receipt } from "./receipt.js";
import type { ResultFiles } from "./result-files.js";
import type { Standing, Verification } from "./verify.js";

export const LIVE_STATES = ["QUEUED", "INITIALIZING", "RUNNING"] as const;
export type JobState = (typeof LIVE_STATES)[number] | "COMPLETE" | "EXECUTOR_ERROR" | "SYSTEM_ERROR" | "CANCELED" | "UNKNOWN";

export interface Job {
  readonly jobId: string;
  readonly taskDigest: string;
  readonly module: string;
  readonly name: string;
  readonly submittedAt: string;
  readonly state: JobState;
  readonly attempt: number;
  readonly position?: number;
  readonly waiting?: string;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly acceptedAt?: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly expiresAt?: string;
  readonly outcome?: Outcome;
  readonly node: string;
  readonly released: boolean;
  /** Of a job with files only. */
  readonly files?: JobFiles;
}

/** Whether a job has no result yet. */
export function isLive(job: Job): boolean {
  return (LIVE_STATES as readonly string[]).includes(job.state);
}

export interface Check {
  readonly name: string;
  readonly status: "ok" | "warning" | "failure";
  readonly found: string;
  readonly hint?: string;
}

export interface NodeState {
  readonly peerId?: string;
  readonly version: string;
  readonly capabilities?: Record<string, unknown>;
  readonly checks: readonly Check[];
}

/** The daemon's counters at a moment: jobs that wait and run now, and what has ended since its start. */
export interface Sample {
  readonly at: string;
  readonly waiting: number;
  readonly running: number;
  readonly ended: number;
  readonly gas: number;
  readonly exited: number;
  readonly failed: number;
  readonly claimed: number;
}

export interface Peer {
  readonly peerId: string;
  readonly addresses: readonly string[];
  readonly latencyS: number;
  readonly capabilities: Record<string, unknown>;
}

/** A change of the connection that carries the events. */
export type Connection =
  /** The connection was lost, and the client reconnects; `problem` says why it was lost. */
  | { readonly type: "reconnect"; readonly problem: Error }
  /** The client is connected, for the first time or again. */
  | { readonly type: "connected" };

export type JobChange = { readonly type: "status"; readonly job: Job } | Connection;

export type JobEvent =
  | { readonly type: "status" | "end"; readonly job: Job }
  | { readonly type: "output"; readonly stream: "stdout" | "stderr"; readonly attempt: number; readonly offset: number; readonly data: Bytes }
  /** The node started the job again: the output received so far is void. */
  | { readonly type: "restart"; readonly attempt: number }
  | Connection;

/** A job that has ended, with its verified receipt and output. */
export interface JobResult {
  readonly job: Job;
  readonly receipt: Receipt;
  readonly envelopeJson: Bytes;
  readonly verification: Verification;
  /** How the user knows the node that signed: `own` if it is the server's daemon. */
  readonly standing: Standing;
  /** The result of the verification, in one sentence. */
  readonly words: string;
  readonly stdout: Bytes;
  readonly stderr: Bytes;
  /** What the job left, to be read when it is needed. */
  readonly files: ResultFiles;
}
