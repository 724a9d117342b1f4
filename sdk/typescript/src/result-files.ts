/** The files that a job left: listed by the server, compared with the receipt, and read when they are asked for. */

import { concat, fromUtf8, type Bytes } from "./bytes.js";
import { within, type Waiting } from "./deadline.js";
import { digestAsync, sha256 as digestOf } from "./digest.js";
import { InvalidRecordError, PlasmError, ReceiptRejectedError, TooLargeError, UnreachableError } from "./errors.js";
import type { Http } from "./http.js";
import type { Product } from "./job-files.js";
import type { Receipt } from "./receipt.js";
import { encodeListing, MAX_TREE_ENTRIES, readListing, type TreeEntry } from "./tree-listing.js";

const PAGE = 5_000, PIECE_BYTES = 16 << 20, TRIES = 4, MAX_FILE_BYTES = 1 << 30;
const ROOT = ".";

interface Listed {
  readonly path: string;
  readonly kind: "file" | "directory";
  readonly sizeBytes?: number;
  readonly sha256?: string;
}

/** One file that a job left. Its digest is the receipt's, or that of a listing whose digest is. */
export class ResultFile {
  constructor(
    private readonly http: Http,
    /** The path in the job's tree. */
    readonly path: string,
    readonly sizeBytes: number,
    readonly sha256: string,
    private readonly url: string,
  ) {}

  /**
   * Download the file, in pieces that are asked for again if the connection breaks, and compare it with the receipt.
   *
   * Throws: `ReceiptRejectedError` if it has another digest; `TooLargeError` if it has more than `maxBytes` (1 GiB);
   * `ProblemError`; `UnreachableError`; `WaitTimeoutError`.
   */
  async bytes(options: Waiting & { readonly maxBytes?: number | undefined } = {}): Promise<Bytes> {
    const { maxBytes = MAX_FILE_BYTES } = options;
    if (this.sizeBytes > maxBytes) throw new TooLargeError(this.path, maxBytes);
    return within(options, `${this.path} has not come`, async (signal) => {
      const pieces: Bytes[] = [];
      for (let at = 0; at < this.sizeBytes; at += PIECE_BYTES) {
        pieces.push(await this.piece(at, Math.min(at + PIECE_BYTES, this.sizeBytes), signal));
      }
      const whole = concat(...pieces);
      if ((await digestAsync(whole)) !== this.sha256) throw new ReceiptRejectedError([`the file ${this.path} is not what the node signed`]);
      return whole;
    });
  }

  /** The file as text, verified. Throws: as `bytes`; TypeError if it is not UTF-8. */
  async text(options: Waiting = {}): Promise<string> {
    return fromUtf8(await this.bytes(options));
  }

  /** The bytes from `start` up to `end`, verified: all of the file is downloaded for that. Throws: as `bytes`. */
  async slice(start: number, end = this.sizeBytes, options: Waiting = {}): Promise<Bytes> {
    return (await this.bytes(options)).slice(start, end);
  }

  /**
   * The bytes from `start` up to `end` as the server sends them. A digest covers a whole file, so that a part cannot be
   * compared with the receipt. Throws: `ProblemError`; `UnreachableError`; `WaitTimeoutError`.
   */
  async unverified(start: number, end = this.sizeBytes, options: Waiting = {}): Promise<Bytes> {
    const from = Math.max(0, Math.trunc(start)), to = Math.min(this.sizeBytes, Math.trunc(end));
    if (to <= from) return new Uint8Array(0);
    return within(options, `${this.path} has not come`, (signal) => this.piece(from, to, signal));
  }

  private async piece(start: number, end: number, signal: AbortSignal): Promise<Bytes> {
    const length = end - start;
    for (let tries = 1; ; tries++) {
      try {
        const bytes = await this.http.bytes(this.url, length, { signal, headers: { Range: `bytes=${start}-${end - 1}` } });
        if (bytes.length !== length) throw new UnreachableError(`the server sent ${bytes.length} of ${length} bytes of ${this.path}`);
        return bytes;
      } catch (error) {
        if (!(error instanceof UnreachableError) || tries >= TRIES) throw error;
      }
    }
  }
}

/** The files that a job left. Its paths and digests are those that the node signed. */
export class ResultFiles implements Iterable<ResultFile> {
  private readonly byPath: ReadonlyMap<string, ResultFile>;

  constructor(
    /** The outputs that the job left, as the receipt states them. */
    readonly outputs: readonly Product[],
    /** The outputs that the manifest asked for and that the job did not leave. */
    readonly missing: readonly string[],
    files: readonly ResultFile[],
    readonly directories: readonly string[],
  ) {
    this.byPath = new Map(files.map((file) => [file.path, file]));
  }

  get size(): number {
    return this.byPath.size;
  }

  [Symbol.iterator](): Iterator<ResultFile> {
    return this.byPath.values();
  }

  has(path: string): boolean {
    return this.byPath.has(path);
  }

  /** The file of a path. Throws: `PlasmError` if the job left none. */
  get(path: string): ResultFile {
    const found = this.byPath.get(path);
    if (found === undefined) throw new PlasmError(`the job left no file ${JSON.stringify(path)}`);
    return found;
  }
}

/**
 * List the files of a job whose receipt is verified, and compare the list with the receipt. `base`: the job's path.
 *
 * Throws: `ReceiptRejectedError` if the list is not what the receipt states; `ProblemError`; `UnreachableError`.
 */
export async function listResultFiles(http: Http, base: string, receipt: Receipt, signal: AbortSignal): Promise<ResultFiles> {
  const asked = receipt.asked.files?.outputs ?? [], products = receipt.files;
  const missing = asked.filter((path) => !products.some((product) => product.path === path));
  if (products.length === 0) return new ResultFiles([], missing, [], []);
  const listed = await listing(http, base, signal), files: ResultFile[] = [], directories: string[] = [];
  for (const product of products) {
    const found = listedIn(product, listed);
    if (found === undefined) throw new ReceiptRejectedError([`the list of the files in ${product.path} is not what the node signed`]);
    for (const { path, kind, sizeBytes = 0, sha256 = "" } of found) {
      if (kind === "directory") directories.push(path);
      else files.push(new ResultFile(http, path, sizeBytes, sha256, `${base}/files/${path.split("/").map(encodeURIComponent).join("/")}`));
    }
  }
  return new ResultFiles(products, missing, files, directories);
}

/** What an output has, as the receipt and the listing of its digest state it; undefined if the server lists anything else. */
function listedIn({ path, kind, sha256 }: Product, listed: readonly Listed[]): TreeEntry[] | undefined {
  if (kind === "file") {
    const [item, ...others] = listed.filter((each) => each.path === path);
    if (item?.kind !== "file" || item.sha256 !== sha256 || !Number.isSafeInteger(item.sizeBytes) || others.length > 0) return undefined;
    return [{ path, kind, sizeBytes: item.sizeBytes, sha256 }];
  }
  const below = path === ROOT ? "" : `${path}/`;
  const inside = listed.filter((item) => item.path !== path && item.path.startsWith(below));
  if (inside.some((item) => item.kind !== "directory" && !Number.isSafeInteger(item.sizeBytes))) return undefined;
  const encoded = encodedListing(inside, below.length);
  if (encoded === undefined || digestOf(encoded) !== sha256) return undefined;
  // Not the server's items: a field that is too long for its place may have hidden the entries behind it.
  return [...readListing(encoded)].map((entry) => ({ ...entry, path: `${below}${entry.path}` }));
}

async function listing(http: Http, base: string, signal: AbortSignal): Promise<Listed[]> {
  const found: Listed[] = [];
  for (let after: string | undefined; ; ) {
    const query = after === undefined ? "" : `&after=${encodeURIComponent(after)}`;
    const page = await http.json<{ files: Listed[]; next?: string }>(`${base}/files?limit=${PAGE}${query}`, { signal });
    found.push(...page.files);
    if (page.next === undefined) return found;
    if (page.files.length === 0 || found.length > 65 * MAX_TREE_ENTRIES) throw new UnreachableError("the list of files does not end");
    after = page.next;
  }
}

/** The listing of some entries, their paths cut by a prefix; undefined if they are no tree. */
function encodedListing(items: readonly Listed[], prefix: number): Bytes | undefined {
  try {
    return encodeListing(items.map((item): TreeEntry => ({
      path: item.path.slice(prefix), kind: item.kind === "directory" ? "directory" : "file", sizeBytes: item.sizeBytes, sha256: item.sha256,
    })));
  } catch (error) {
    if (error instanceof InvalidRecordError || error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
