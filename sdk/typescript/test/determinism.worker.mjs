// Runs the vectors on a stack as large as a node's: 262,144 units of it.
import { parentPort } from "node:worker_threads";
import { attempt, runs } from "./runs.mjs";
import { corpus, load, vectors } from "./support.mjs";

const sdk = await load("index.js"), answers = [];
for (const run of runs({ vectors, corpus, unhex: sdk.unhex })) answers.push(await attempt(run, sdk));
parentPort.postMessage(answers);
