/** Requests to the HTTP API: token, deadline, retries, and problems as errors. */
import { concat, fromUtf8 } from "./bytes.js";
import { within } from "./deadline.js";
import { ProblemError, TooLargeError, UnreachableError } from "./errors.js";
const LONGEST_POLL_S = 60, DEFAULT_DEADLINE_S = 30, DEFAULT_PATIENCE_S = 30, FIRST_PAUSE_S = 0.25, LONGEST_PAUSE_S = 5, SILENCE_S = 60;
const MAX_JSON_BYTES = 32 << 20;
const AGAIN = new Set([408, 429, 502, 503, 504]);
/** How many whole seconds the server may wait before it answers, if the caller waits so many seconds yet. */
export function longPollS(leftS) {
    return Math.floor(Math.min(LONGEST_POLL_S, leftS));
}
/** Wait. Throws: the signal's reason if it aborts. */
export function pause(seconds, signal) {
    return new Promise((resolve, reject) => {
        const end = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", end);
            resolve();
        }, 1000 * seconds);
        if (signal?.aborted === true)
            end();
        signal?.addEventListener("abort", end, { once: true });
    });
}
export class Http {
    options;
    base;
    fetch;
    constructor(options) {
        this.options = options;
        this.base = options.url.replace(/\/+$/, "");
        this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    }
    /**
     * Send a request, and send it again while the server is unreachable or busy: it must be safe to repeat. Throws: `ProblemError`, `UnreachableError`; the
     * signal's reason if it aborts.
     */
    async send(path, request = {}) {
        const patience = request.patienceS ?? this.options.patienceS ?? DEFAULT_PATIENCE_S;
        const until = Date.now() + 1000 * patience;
        for (let wait = FIRST_PAUSE_S;; wait = Math.min(2 * wait, LONGEST_PAUSE_S)) {
            let failure;
            try {
                const response = await this.once(path, request);
                if (response.ok || response.status === 304)
                    return response;
                failure = await problemOf(response);
                if (!AGAIN.has(response.status))
                    throw failure;
            }
            catch (error) {
                if (!(error instanceof UnreachableError))
                    throw error;
                failure = error;
            }
            const asked = failure instanceof ProblemError ? failure.retryAfterS : undefined;
            const seconds = Math.max(wait, asked ?? 0) * (0.75 + Math.random() / 2);
            if (Date.now() + 1000 * seconds > until)
                throw failure;
            await pause(seconds, request.signal);
        }
    }
    async once(path, { method = "GET", headers, body, signal, deadlineS = DEFAULT_DEADLINE_S }) {
        const { token } = this.options, late = new AbortController();
        const timer = setTimeout(() => late.abort(), 1000 * deadlineS);
        try {
            return await this.fetch(`${this.base}${path}`, {
                method,
                headers: { ...headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
                ...(body === undefined ? {} : { body }),
                signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
                cache: "no-store",
                credentials: "omit",
                redirect: "error",
            });
        }
        catch (error) {
            if (signal?.aborted === true)
                throw signal.reason;
            const message = late.signal.aborted ? `no answer within ${deadlineS} s` : "the server does not answer";
            throw new UnreachableError(message, { hint: `is plasm web running at ${this.base}?`, cause: error });
        }
        finally {
            clearTimeout(timer);
        }
    }
    async json(path, request = {}) {
        const data = await this.bytes(path, MAX_JSON_BYTES, { ...request, headers: { Accept: "application/json", ...request.headers } });
        try {
            return JSON.parse(fromUtf8(data));
        }
        catch (error) {
            throw new UnreachableError("the answer is not JSON", { cause: error });
        }
    }
    /** Read an answer of at most `maximum` bytes. Throws: `TooLargeError` and `WaitTimeoutError` also. */
    async bytes(path, maximum, request = {}) {
        return within(request, "the server has not answered", (signal) => this.read(path, maximum, { ...request, signal }));
    }
    async read(path, maximum, request) {
        const response = await this.send(path, request);
        if (Number(response.headers.get("Content-Length") ?? 0) > maximum) {
            await response.body?.cancel().catch(() => undefined);
            throw new TooLargeError(path, maximum);
        }
        try {
            return await bounded(response, path, maximum);
        }
        catch (error) {
            if (request.signal?.aborted === true)
                throw request.signal.reason;
            if (error instanceof TooLargeError)
                throw error;
            throw new UnreachableError("the answer was cut short", { cause: error });
        }
    }
}
/** Read a body, and stop when it is too large. */
async function bounded(response, path, maximum) {
    if (response.body === null)
        return new Uint8Array(0);
    const reader = response.body.getReader(), parts = [];
    let length = 0;
    for (;;) {
        const { done, value } = await withDeadline(reader.read(), SILENCE_S);
        if (done)
            return concat(...parts);
        length += value.length;
        if (length > maximum) {
            await reader.cancel().catch(() => undefined);
            throw new TooLargeError(path, maximum);
        }
        parts.push(value);
    }
}
async function withDeadline(promise, seconds) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new UnreachableError(`nothing came for ${seconds} s`)), 1000 * seconds);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
/** Read the RFC 9457 problem of a response that is an error. */
export async function problemOf(response) {
    const text = await bounded(response, "problem", MAX_JSON_BYTES).then(fromUtf8).catch(() => "");
    let found = {};
    try {
        found = JSON.parse(text);
    }
    catch {
        // A proxy's page, for example: the status has to do.
    }
    const said = (name) => (typeof found?.[name] === "string" ? found[name] : undefined);
    const seconds = Number(found?.["retryAfterS"] ?? response.headers.get("Retry-After") ?? Number.NaN);
    return new ProblemError(response.status, said("code") ?? `http_${response.status}`, said("detail") ?? said("title") ?? `the server answered ${response.status}`, said("reason") ?? said("code"), said("hint"), Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 3600) : undefined);
}
