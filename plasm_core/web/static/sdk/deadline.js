/** One deadline for all the waits that a call is made of. */
import { PlasmError, WaitTimeoutError } from "./errors.js";
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** The moment at which a call gives up. `signal` aborts then, or when the caller's signal does. */
export class Deadline {
    signal;
    ending = new AbortController();
    at;
    timer;
    /** What is known of what is waited for, such as `it is RUNNING`: the error says it. */
    known = "";
    /** `words`: what the error says has not happened, such as `the job has not ended`. Throws: `PlasmError`. */
    constructor({ signal, timeoutS }, words) {
        if (timeoutS !== undefined && !(typeof timeoutS === "number" && timeoutS >= 0)) {
            throw new PlasmError(`timeoutS: expected a number of seconds, got ${String(timeoutS)}`);
        }
        this.at = timeoutS === undefined ? Number.POSITIVE_INFINITY : Date.now() + 1000 * timeoutS;
        if (this.at < Number.POSITIVE_INFINITY) {
            const late = () => this.ending.abort(new WaitTimeoutError(`${words} within ${timeoutS} s${this.known && `: ${this.known}`}`));
            this.timer = setTimeout(late, Math.min(1000 * (timeoutS ?? 0), LONGEST_TIMER_MS));
        }
        this.signal = signal === undefined ? this.ending.signal : AbortSignal.any([signal, this.ending.signal]);
    }
    /** The seconds that are left, `Infinity` without a timeout. */
    get leftS() {
        return Math.max(0, (this.at - Date.now()) / 1000);
    }
    /** Wait for a promise, until the deadline at most. Throws: `WaitTimeoutError`; the caller's reason. */
    async until(promise) {
        const { signal } = this;
        let end;
        const aborted = new Promise((_, reject) => {
            end = () => reject(signal.reason);
            if (signal.aborted)
                end();
            else
                signal.addEventListener("abort", end, { once: true });
        });
        try {
            return await Promise.race([promise, aborted]);
        }
        finally {
            if (end !== undefined)
                signal.removeEventListener("abort", end);
        }
    }
    /** Stop the timer. Every call does, however it ends. */
    end() {
        clearTimeout(this.timer);
    }
}
/**
 * Run a call that ends at its deadline, even if something in it does not heed the signal. Throws: what `call` throws;
 * `WaitTimeoutError`; the reason of the caller's signal.
 */
export async function within(waiting, words, call) {
    const deadline = new Deadline(waiting, words);
    try {
        return await deadline.until(call(deadline.signal, deadline));
    }
    finally {
        deadline.end();
    }
}
/** The same for what comes one after the other. What is being waited for at the deadline is not waited for any more. */
export async function* eachWithin(waiting, words, call) {
    const deadline = new Deadline(waiting, words), items = call(deadline.signal);
    try {
        for (;;) {
            const { done, value } = await deadline.until(items.next());
            if (done === true)
                return;
            yield value;
        }
    }
    finally {
        deadline.end();
        void items.return(undefined).catch(() => undefined); // waits for what it waits for, which nobody needs
    }
}
