// Run modules: for each line of standard input, a module in base64, its gas limit and profile, print what was observed.
import { createInterface } from "node:readline";
import { load } from "./support.mjs";

const { execute } = await load("execute.js");

for await (const line of createInterface({ input: process.stdin })) {
  const [module, gas, profile] = line.split(" ");
  const limits = { gas: BigInt(gas), memoryBytes: 1n << 24n, outputBytes: 1n << 16n };
  const task = { args: [], env: [], stdin: new Uint8Array(0), seed: "00".repeat(32), limits, profile };
  try {
    const { outcome, gasUsed, stdout } = execute({ ...task, module: new Uint8Array(Buffer.from(module, "base64")) });
    console.log(JSON.stringify([outcome, Number(gasUsed), Buffer.from(stdout).toString("hex")]));
  } catch (error) {
    console.log(JSON.stringify(`${error.name} ${error.reason}: ${error.message}`));
  }
}
