/** The types of plugins/runtime_v8's files.mjs, which the build copies here. */

import type { Host } from "./wasi.mjs";

export interface FilesOfJob {
  readonly listing: Uint8Array;
  /** Texts of a byte a character, "" for the root. */
  readonly readOnly: readonly string[];
  readonly outputs: readonly string[];
  readonly limits: { readonly dataBytes: number; readonly entries: number; readonly descriptors: number };
}

export interface LeftFiles {
  entry(position: number, kind: number, size: number, path: Uint8Array): void;
  data(bytes: Uint8Array): void;
}

export class Files {
  constructor(host: Host, job: FilesOfJob, read: (offset: number, target: Uint8Array) => void);
  collect(left: LeftFiles): void;
}
