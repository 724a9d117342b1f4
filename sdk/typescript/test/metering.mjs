// Meter modules: for each line of standard input, a module in base64 and perhaps an entry, print the metered code in
// base64 and its features of plasm.det/v2, or the error. The engine is not asked whether the module is valid: an older one lacks features.
import { createInterface } from "node:readline";
import { load } from "./support.mjs";

const { Rewriter } = await load("metering/rewrite.js"), { readModule } = await load("metering/module.js");

for await (const line of createInterface({ input: process.stdin })) {
  const [module, entry] = line.split(" ");
  try {
    const rewriter = new Rewriter(readModule(new Uint8Array(Buffer.from(module, "base64")), entry));
    const code = Buffer.from(rewriter.rewrite()).toString("base64");
    console.log(`${code}${rewriter.exceptions ? " exceptions" : ""}${rewriter.tailCalls ? " tail-calls" : ""}`);
  } catch (error) {
    console.log(`${error.name} ${error.reason}: ${error.message}`);
  }
}
