// The built package, the vectors, and where both are.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
export const dist = resolve(process.env.PLASM_SDK ?? join(root, "sdk", "typescript", "dist"));
export const load = (name) => import(pathToFileURL(join(dist, name)).href);
export const vectors = (name) => JSON.parse(readFileSync(join(root, "tests", "vectors", `${name}.json`), "utf8"));
export const corpus = (path) => new Uint8Array(readFileSync(join(root, "tests", "corpus", path)));
