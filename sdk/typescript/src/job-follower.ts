/** Follows one job and keeps its state, output and result, for user interfaces. */

import { concat, type Bytes } from "./bytes.js";
import type { PlasmClient } from "./client.js";
import type { Job, JobResult } from "./jobs.js";

/** The most bytes of each output that are kept while a job runs: the last ones. */
const SHOWN_BYTES = 1 << 20;

export interface Shown {
  readonly bytes: Bytes;
  /** How many bytes came before those, and are not kept. */
  readonly dropped: number;
}

export interface Followed {
  readonly job: Job | undefined;
  readonly stdout: Shown;
  readonly stderr: Shown;
  /** Whether the event stream is connected. */
  readonly connected: boolean;
  /** What is wrong with the connection, or why there is no result. */
  readonly problem: Error | undefined;
  /** The verified result, once the job has ended. */
  readonly result: JobResult | undefined;
}

const NOTHING: Shown = { bytes: new Uint8Array(0), dropped: 0 };
const START: Followed = {
  job: undefined, stdout: NOTHING, stderr: NOTHING, connected: false, problem: undefined, result: undefined,
};

function appended({ bytes, dropped }: Shown, data: Uint8Array): Shown {
  const whole = concat(bytes, data), excess = Math.max(0, whole.length - SHOWN_BYTES);
  return { bytes: excess > 0 ? whole.slice(excess) : whole, dropped: dropped + excess };
}

/** A job's state over time. It follows the job while it has a listener. */
export class JobFollower {
  private state: Followed = START;
  private readonly listeners = new Set<() => void>();
  private following: AbortController | undefined;

  constructor(
    private readonly client: PlasmClient,
    readonly jobId: string,
    private readonly manifest?: Uint8Array,
  ) {}

  /** The present state: the same object until something changes. */
  readonly snapshot = (): Followed => this.state;

  /** Call a listener after each change, and follow the job. Returns what ends both. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (this.following === undefined && this.state.result === undefined) {
      this.following = new AbortController();
      void this.follow(this.following.signal);
    }
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.following?.abort();
      this.following = undefined;
    };
  };

  private set(change: Partial<Followed>): void {
    this.state = { ...this.state, ...change };
    for (const listener of [...this.listeners]) listener();
  }

  private async follow(signal: AbortSignal): Promise<void> {
    this.set({ stdout: NOTHING, stderr: NOTHING, problem: undefined });
    try {
      for await (const event of this.client.events(this.jobId, { signal })) {
        if (event.type === "connected") this.set({ connected: true, problem: undefined });
        else if (event.type === "reconnect") this.set({ connected: false, problem: event.problem });
        else if (event.type === "restart") this.set({ stdout: NOTHING, stderr: NOTHING });
        else if (event.type === "output") this.set({ [event.stream]: appended(this.state[event.stream], event.data) });
        else this.set({ job: event.job });
      }
      const result = await this.client.result(this.jobId, { signal, manifest: this.manifest });
      this.set({ job: result.job, result, connected: true, problem: undefined });
    } catch (error) {
      if (signal.aborted) return;
      this.set({ problem: error instanceof Error ? error : new Error(String(error)) });
    }
  }
}
