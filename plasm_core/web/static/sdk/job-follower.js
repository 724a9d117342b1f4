/** Follows one job and keeps its state, output and result, for user interfaces. */
import { concat } from "./bytes.js";
/** The most bytes of each output that are kept while a job runs: the last ones. */
const SHOWN_BYTES = 1 << 20;
const NOTHING = { bytes: new Uint8Array(0), dropped: 0 };
const START = {
    job: undefined, stdout: NOTHING, stderr: NOTHING, connected: false, problem: undefined, result: undefined,
};
function appended({ bytes, dropped }, data) {
    const whole = concat(bytes, data), excess = Math.max(0, whole.length - SHOWN_BYTES);
    return { bytes: excess > 0 ? whole.slice(excess) : whole, dropped: dropped + excess };
}
/** A job's state over time. It follows the job while it has a listener. */
export class JobFollower {
    client;
    jobId;
    manifest;
    state = START;
    listeners = new Set();
    following;
    constructor(client, jobId, manifest) {
        this.client = client;
        this.jobId = jobId;
        this.manifest = manifest;
    }
    /** The present state: the same object until something changes. */
    snapshot = () => this.state;
    /** Call a listener after each change, and follow the job. Returns what ends both. */
    subscribe = (listener) => {
        this.listeners.add(listener);
        if (this.following === undefined && this.state.result === undefined) {
            this.following = new AbortController();
            void this.follow(this.following.signal);
        }
        return () => {
            this.listeners.delete(listener);
            if (this.listeners.size > 0)
                return;
            this.following?.abort();
            this.following = undefined;
        };
    };
    set(change) {
        this.state = { ...this.state, ...change };
        for (const listener of [...this.listeners])
            listener();
    }
    async follow(signal) {
        this.set({ stdout: NOTHING, stderr: NOTHING, problem: undefined });
        try {
            for await (const event of this.client.events(this.jobId, { signal })) {
                if (event.type === "connected")
                    this.set({ connected: true, problem: undefined });
                else if (event.type === "reconnect")
                    this.set({ connected: false, problem: event.problem });
                else if (event.type === "restart")
                    this.set({ stdout: NOTHING, stderr: NOTHING });
                else if (event.type === "output")
                    this.set({ [event.stream]: appended(this.state[event.stream], event.data) });
                else
                    this.set({ job: event.job });
            }
            const result = await this.client.result(this.jobId, { signal, manifest: this.manifest });
            this.set({ job: result.job, result, connected: true, problem: undefined });
        }
        catch (error) {
            if (signal.aborted)
                return;
            this.set({ problem: error instanceof Error ? error : new Error(String(error)) });
        }
    }
}
