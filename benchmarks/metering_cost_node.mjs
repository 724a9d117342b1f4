// Measure what metering by the TypeScript package costs on V8, for one module:
//
//     node benchmarks/metering_cost_node.mjs ROUNDS PACKAGE[,PACKAGE] MODULE [ARGUMENT...]
//
// PACKAGE is a directory that `node sdk/typescript/build.mjs` has made; two versions can be compared. The module runs as
// it is and as each package meters it, all forms in turn, with the package's WASI host. Prints for each form the least
// processor time of `_start`, that of the compiler's threads with it, and its quotient by that of the module as it is.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { pathToFileURL } from "node:url";

const [rounds, packages, path, ...args] = process.argv.slice(2);
const data = new Uint8Array(readFileSync(path)), names = packages.split(","), GAS = 1n << 62n, PAGES = 65_536;
const load = (name, file) => import(pathToFileURL(resolve(name, file)).href);
const { Host } = await load(names[0], "wasi.mjs");

const forms = [{ name: "as it is", code: data }];
for (const name of names) {
  const { meter } = await load(name, "metering/rewrite.js");
  const begun = performance.now(), { code } = meter(data);
  console.log(`${name}: metered in ${Math.round(performance.now() - begun)} ms, ${code.length} bytes`);
  forms.push({ name, code });
}
for (const form of forms) Object.assign(form, { module: new WebAssembly.Module(form.code), times: [] });

function run({ module }) {
  const io = { write() {}, read() {} };
  const given = ["main", ...args].map((text) => new TextEncoder().encode(text));
  const host = new Host({ args: given.slice(1), env: [], seed: new Uint8Array(32), outputBytes: 2 ** 40, stdinBytes: 0 }, io);
  const { exports } = new WebAssembly.Instance(module, { wasi_snapshot_preview1: host.imports });
  const gas = exports["plasm:gas"] ?? new WebAssembly.Global({ value: "i64", mutable: true }, GAS);
  gas.value = GAS;
  if (exports["plasm:pages"] !== undefined) exports["plasm:pages"].value = PAGES;
  host.attach(exports.memory, gas);
  const begun = process.cpuUsage();
  try {
    exports._start();
  } catch (error) {
    const { kind, code } = host.thrown ?? {};
    if (kind !== "exited" || code !== 0) throw error;
  }
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6;
}

for (let round = 0; round < Number(rounds); round++) for (const form of forms) form.times.push(run(form));
const least = (form) => Math.min(...form.times);
for (const form of forms) {
  const time = least(form).toFixed(3), quotient = (least(form) / least(forms[0])).toFixed(2);
  console.log(`${form.name.padEnd(24)} ${time.padStart(7)} s  ${quotient}`);
}
