/** The input files of a job, as a tree: made from files by their paths, or from a pack (docs/files.md). */

import { concat, littleEndian, utf8, type Bytes } from "./bytes.js";
import { digestAsync } from "./digest.js";
import { InvalidRecordError, PlasmError } from "./errors.js";
import { isGuestPath } from "./job-files.js";
import { encodeListing, readListing, type TreeEntry } from "./tree-listing.js";

/** What a file has: text (as UTF-8), bytes, or a Blob, such as a File of a page. */
export type FileContent = string | Uint8Array | ArrayBuffer | Blob;

/** Files by their paths in the job's tree. A path with a slash at its end, and `null` or nothing, is an empty directory. */
export type InputFiles = Readonly<Record<string, FileContent | null>> | ReadonlyMap<string, FileContent | null>;

/** The outputs and the read-only paths that go with a tree. */
export interface TreeTerms {
  /** Paths whose files are kept; one with a slash at its end is made as a directory. */
  readonly outputs?: readonly string[] | undefined;
  /** Paths below which, themselves included, the job can change nothing. */
  readonly readOnly?: readonly string[] | undefined;
}

const ROOT = ".", TEMPORARY = "tmp", HEAD_BYTES = 4, MAX_LISTING_BYTES = 256 << 20;

export class JobTree {
  private constructor(
    readonly listing: Bytes,
    /** The SHA-256 digest of the listing. */
    readonly digest: string,
    readonly outputs: readonly string[],
    readonly readOnly: readonly string[],
    /** The bytes of the distinct files, in the order of the listing. */
    private readonly blobs: readonly (Bytes | Blob)[],
  ) {}

  /**
   * Make the tree that the command line and the other clients make of the same files: with parents, the directories
   * of outputs, and `tmp`. Throws: `PlasmError` if the files make no tree.
   */
  static async of(files: InputFiles, terms: TreeTerms = {}): Promise<JobTree> {
    const entries = new Map<string, TreeEntry>(), contents = new Map<string, Bytes | Blob>();
    const directory = (path: string): void => {
      if (path === ROOT) return;
      const names = path.split("/");
      for (let count = 1; count <= names.length; count++) {
        const each = names.slice(0, count).join("/");
        if ((entries.get(each)?.kind ?? "directory") !== "directory") throw new PlasmError(`${JSON.stringify(each)} is a file and a directory`);
        entries.set(each, { path: each, kind: "directory" });
      }
    };
    for (const [given, content] of files instanceof Map ? files : Object.entries(files as Record<string, FileContent | null>)) {
      const path = guestPath(given, "files"), data = content === null ? new Uint8Array(0) : contentOf(content);
      if (given.endsWith("/") || content === null) {
        if ((data instanceof Blob ? data.size : data.length) > 0) throw new PlasmError(`${JSON.stringify(given)} is a directory, and has bytes`);
        directory(path);
        continue;
      }
      if (path === ROOT) throw new PlasmError("files: a file needs a path");
      directory(path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ROOT);
      if (entries.has(path)) throw new PlasmError(`${JSON.stringify(path)} is there twice`);
      const sha256 = await digestAsync(data instanceof Blob ? new Uint8Array(await data.arrayBuffer()) : data);
      contents.set(sha256, data);
      entries.set(path, { path, kind: "file", sizeBytes: data instanceof Blob ? data.size : data.length, sha256 });
    }
    const outputs = (terms.outputs ?? []).map((given) => {
      const path = guestPath(given, "outputs");
      directory(given.endsWith("/") ? path : path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ROOT);
      return path;
    });
    directory(TEMPORARY);
    const listing = encodeListing(entries.values());
    const blobs = distinct(listing).map(({ sha256 }) => contents.get(sha256) as Bytes | Blob);
    return new JobTree(listing, await digestAsync(listing), outputs, (terms.readOnly ?? []).map((path) => guestPath(path, "readOnly")), blobs);
  }

  /** Read a pack: a listing with the bytes of its files behind it. The bytes are compared with it when they are read. */
  static async fromPack(pack: Blob, terms: TreeTerms = {}): Promise<JobTree> {
    const head = new DataView(await pack.slice(0, HEAD_BYTES).arrayBuffer());
    const length = head.byteLength === HEAD_BYTES ? head.getUint32(0, true) : MAX_LISTING_BYTES + 1;
    const start = HEAD_BYTES + length;
    if (length > MAX_LISTING_BYTES || start > pack.size) throw new InvalidRecordError("pack", "", "cut short");
    const listing = new Uint8Array(await pack.slice(HEAD_BYTES, start).arrayBuffer()), blobs: Blob[] = [];
    let at = start;
    for (const { sizeBytes } of distinct(listing)) blobs.push(pack.slice(at, (at += sizeBytes)));
    if (at !== pack.size) throw new InvalidRecordError("pack", "", "its length is not that of its listing");
    return new JobTree(listing, await digestAsync(listing), terms.outputs ?? [], terms.readOnly ?? [], blobs);
  }

  /** The tree of a job's input; undefined for a job without files. Throws: `PlasmError`. */
  static async from({ files, outputs, readOnly }: { readonly files?: InputFiles | JobTree | undefined } & TreeTerms): Promise<JobTree | undefined> {
    if (files instanceof JobTree) {
      if (outputs !== undefined || readOnly !== undefined) throw new PlasmError("a JobTree has its outputs and read-only paths itself");
      return files;
    }
    return files === undefined && outputs === undefined ? undefined : JobTree.of(files ?? {}, { outputs, readOnly });
  }

  /** The length of the pack in bytes. */
  get sizeBytes(): number {
    const sizes = this.blobs.map((blob) => (blob instanceof Blob ? blob.size : blob.length));
    return sizes.reduce((sum, size) => sum + size, HEAD_BYTES + this.listing.length);
  }

  /** The tree as it travels: the listing's length, the listing, and the bytes of its files. */
  pack(): Blob {
    return new Blob([littleEndian(this.listing.length, 4), this.listing, ...this.blobs], { type: "application/octet-stream" });
  }

  /** Read the bytes of the files. Throws: `InvalidRecordError` if they are others than the listing says. */
  async data(): Promise<Bytes> {
    const read = await Promise.all(this.blobs.map(async (blob) => (blob instanceof Blob ? new Uint8Array(await blob.arrayBuffer()) : blob)));
    for (const [index, { path, sha256 }] of distinct(this.listing).entries()) {
      if ((await digestAsync(read[index] as Bytes)) !== sha256) throw new InvalidRecordError("pack", path, "other bytes than the listing says");
    }
    return concat(...read);
  }
}

/** The first file of each digest, in the order of a listing. */
function distinct(listing: Uint8Array): { path: string; sizeBytes: number; sha256: string }[] {
  const found = new Map<string, { path: string; sizeBytes: number; sha256: string }>();
  for (const { kind, path, sizeBytes = 0, sha256 = "" } of readListing(listing)) {
    if (kind === "file" && !found.has(sha256)) found.set(sha256, { path, sizeBytes, sha256 });
  }
  return [...found.values()];
}

function contentOf(content: FileContent): Bytes | Blob {
  if (content instanceof Blob) return content;
  return typeof content === "string" ? utf8(content) : new Uint8Array(content);
}

function guestPath(given: string, what: string): string {
  const path = given.replace(/^\/+|\/+$/g, "") || ROOT;
  if (!isGuestPath(path)) throw new PlasmError(`${what}: ${JSON.stringify(given)} is no path of a job's tree`);
  return path;
}
