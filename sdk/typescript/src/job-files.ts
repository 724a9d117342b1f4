/** A job's files: what a manifest asks for, and what a receipt says of the outputs (docs/files.md). */

import { compareBytes, littleEndian, unhex, utf8, type Bytes } from "./bytes.js";
import { listDigest } from "./digest.js";
import { InvalidRecordError } from "./errors.js";
import type { Fields } from "./fields.js";

export const MAX_PATHS = 64;
const MAX_DATA_BYTES = 2 ** 32, MAX_ENTRIES = 65_536, MAX_DESCRIPTORS = 4_096, LEAST_DESCRIPTORS = 4;
const ROOT = ".";

/** Bytes that the job writes, names in its tree, open descriptors. */
export interface FileLimits {
  readonly dataBytes: number;
  readonly entries: number;
  readonly descriptors: number;
}

export const DEFAULT_FILE_LIMITS: FileLimits = { dataBytes: 256 << 20, entries: MAX_ENTRIES, descriptors: 1_024 };

export interface JobFiles {
  /** The digest of the listing of the input tree. */
  readonly tree: string;
  readonly readOnly: readonly string[];
  readonly outputs: readonly string[];
  readonly limits: FileLimits;
}

/** An output that a job left: a file with the digest of its bytes, or a tree with that of its listing. */
export interface Product {
  readonly path: string;
  readonly kind: "file" | "tree";
  readonly sha256: string;
}

/** Whether a text is a path of a job's tree: relative, canonical, without control characters; `.` for the root. */
export function isGuestPath(text: string): boolean {
  if (/[\u0000-\u001f\u007f]/.test(text)) return false;
  if (text === ROOT) return true;
  if (utf8(text).length > 1024) return false;
  return text.split("/").every((name) => name !== "" && name !== "." && name !== ".." && utf8(name).length <= 255);
}

function nested(paths: readonly string[]): string | undefined {
  const known = new Set(paths);
  return paths.find((path) => {
    if (path !== ROOT && known.has(ROOT)) return true;
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      if (known.has(path.slice(0, end))) return true;
    }
    return false;
  });
}

/** Read the files of a manifest (`asked` false) or of a receipt's task. Throws: `InvalidRecordError`. */
export function readFiles(fields: Fields, asked: boolean): JobFiles {
  const limits = fields.fields("limits");
  const count = (name: string, camel: string, least: number, most: number): number => {
    if (!asked) return limits.integer(name, least, most);
    const value = limits.counter(camel);
    if (value < BigInt(least) || value > BigInt(most)) limits.fail(camel, "no manifest can ask for it");
    return Number(value);
  };
  const files = {
    tree: fields.digest("tree"),
    readOnly: fields.distinct(asked ? "readOnly" : "read_only", MAX_PATHS, isGuestPath, "relative paths"),
    outputs: fields.distinct("outputs", MAX_PATHS, isGuestPath, "relative paths"),
    limits: {
      dataBytes: count("data_bytes", "dataBytes", 0, MAX_DATA_BYTES),
      entries: count("entries", "entries", 0, MAX_ENTRIES),
      descriptors: count("descriptors", "descriptors", LEAST_DESCRIPTORS, MAX_DESCRIPTORS),
    },
  };
  if (!asked) {
    limits.close();
    fields.close();
  }
  const inner = nested(files.outputs);
  if (inner !== undefined) throw new InvalidRecordError(fields.record, fields.where("outputs"), `${inner} lies in another`);
  return files;
}

/** The fields of the task digest that stand for the files, in their order. */
export function digestedFiles(files: JobFiles): [string, Bytes][] {
  const list = (paths: readonly string[]): Bytes =>
    unhex(listDigest(paths.map((path) => utf8(path === ROOT ? "" : path)).sort(compareBytes)));
  return [
    ["tree", unhex(files.tree)],
    ["read-only", list(files.readOnly)],
    ["outputs", list(files.outputs)],
    ["file-bytes", littleEndian(files.limits.dataBytes, 8)],
    ["file-entries", littleEndian(files.limits.entries, 8)],
    ["file-descriptors", littleEndian(files.limits.descriptors, 8)],
  ];
}
