/** The worker that runs a job again: it receives one task and posts the result. In a browser, or a worker thread of Node. */
import { execute } from "./execute.js";
import { inNode, workerThreads } from "./worker-threads.js";
function answer(port, task) {
    try {
        port.postMessage({ observed: execute(task) });
    }
    catch (error) {
        port.postMessage({ problem: error instanceof Error ? error.message : String(error) });
    }
}
if (inNode()) {
    const { parentPort } = await workerThreads();
    parentPort?.once("message", (task) => answer(parentPort, task));
}
else {
    addEventListener("message", ({ data }) => answer(self, data), { once: true });
}
