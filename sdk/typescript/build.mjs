// Build the package: `node build.mjs DIRECTORY` compiles src, and copies the WASI host from plugins/runtime_v8, its
// only source. `node build.mjs --page` replaces the copy of the package that the page of `plasm web` ships.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const host = join(here, "..", "..", "plugins", "runtime_v8", "plasm_runtime_v8");
const page = process.argv.includes("--page"); // only what a page without a bundler can load
const [directory] = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const shipped = join(here, "..", "..", "plasm_core", "web", "static", "sdk");
const target = resolve(directory ?? (page ? shipped : join(here, "dist")));
const libraries = process.env.PLASM_NODE_MODULES ?? join(here, "node_modules");

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const compiler = createRequire(join(libraries, "here.cjs")).resolve("typescript/lib/tsc.js");
const options = ["--project", here, "--outDir", target, "--declaration", String(!page), "--typeRoots", join(libraries, "@types")];
const { status } = spawnSync(process.execPath, [compiler, ...options], { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);
for (const name of ["wasi", "files"]) {
  copyFileSync(join(host, `${name}.mjs`), join(target, `${name}.mjs`));
  if (!page) copyFileSync(join(here, "src", `${name}.d.mts`), join(target, `${name}.d.mts`));
}
if (page) rmSync(join(target, "react.js"));
