/** The types of the files of a job, of plugins/runtime_v8. */

import type { Host } from "./wasi.mjs";

export interface FilesOfJob {
  listing: Uint8Array;
  /** Texts of a byte a character, "" for the root. */
  readOnly: string[];
  outputs: string[];
  limits: { dataBytes: number; entries: number; descriptors: number };
}

export interface LeftFiles {
  entry(position: number, kind: number, size: number, path: Uint8Array): void;
  data(bytes: Uint8Array): void;
}

export class Files {
  constructor(host: Host, job: FilesOfJob, read: (offset: number, target: Uint8Array) => void);
  collect(left: LeftFiles): void;
}
