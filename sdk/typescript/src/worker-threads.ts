/** Node's worker threads, where there are any. */

// Not in the import itself: a bundler for browsers would look for the module.
const NAME: string = "node:worker_threads";

/** Whether this is Node, whose workers have as much stack as a job may use. */
export function inNode(): boolean {
  return typeof process !== "undefined" && process.versions?.node !== undefined;
}

/** Node's module of worker threads. To be called in Node only. */
export async function workerThreads(): Promise<typeof import("node:worker_threads")> {
  return (await import(NAME)) as typeof import("node:worker_threads");
}
