/** The worker in which a job is run again: one task in, what it came to out. A browser's, or Node's worker thread. */
import { execute } from "./execute.js";
function answer(port, task) {
    try {
        port.postMessage({ observed: execute(task) });
    }
    catch (error) {
        port.postMessage({ problem: error instanceof Error ? error.message : String(error) });
    }
}
if (typeof process !== "undefined" && process.versions?.node !== undefined) {
    const { parentPort } = await import("node:worker_threads");
    parentPort?.once("message", (task) => answer(parentPort, task));
}
else {
    addEventListener("message", ({ data }) => answer(self, data), { once: true });
}
