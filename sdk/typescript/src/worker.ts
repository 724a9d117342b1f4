/** The worker in which a job is run again: one task in, what it came to out. A browser's, or Node's worker thread. */

import { execute, type Task } from "./execute.js";

interface Port {
  postMessage(message: unknown): void;
}

function answer(port: Port, task: Task): void {
  try {
    port.postMessage({ observed: execute(task) });
  } catch (error) {
    port.postMessage({ problem: error instanceof Error ? error.message : String(error) });
  }
}

if (typeof process !== "undefined" && process.versions?.node !== undefined) {
  const { parentPort } = await import("node:worker_threads");
  parentPort?.once("message", (task: Task) => answer(parentPort, task));
} else {
  addEventListener("message", ({ data }: MessageEvent<Task>) => answer(self, data), { once: true });
}
