/** Node's worker threads, where there are any. */
// Not in the import itself: a bundler for browsers would look for the module.
const NAME = "node:worker_threads";
/** Whether this is Node, whose workers have as much stack as a job may use. */
export function inNode() {
    return typeof process !== "undefined" && process.versions?.node !== undefined;
}
/** Node's module of worker threads. To be called in Node only. */
export async function workerThreads() {
    return (await import(NAME));
}
