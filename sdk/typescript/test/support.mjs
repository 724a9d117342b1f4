// The built package, the vectors, and where both are.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
export const dist = resolve(process.env.PLASM_SDK ?? join(root, "sdk", "typescript", "dist"));
export const load = (name) => import(pathToFileURL(join(dist, name)).href);
export const vectors = (name) => JSON.parse(readFileSync(join(root, "tests", "vectors", `${name}.json`), "utf8"));
export const corpus = (path) => new Uint8Array(readFileSync(join(root, "tests", "corpus", path)));

/** Serve with a handler while a test runs. Returns what the test returns. */
export async function serving(handler, run) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await run(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
