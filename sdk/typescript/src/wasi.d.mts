/** The types of plugins/runtime_v8's wasi.mjs, the WASI host, which the build copies here. */

export interface JobOfHost {
  args: Uint8Array[];
  env: Uint8Array[];
  seed: Uint8Array;
  outputBytes: number;
  stdinBytes: number;
}

export interface HostIO {
  /** Takes bytes of stream 1 or 2, which are valid during the call only. */
  write(stream: 1 | 2, bytes: Uint8Array): void;
  /** Fills all of the target with the next bytes of standard input. */
  read(target: Uint8Array): void;
}

export class Host {
  constructor(job: JobOfHost, io: HostIO);
  takeFiles(files: unknown): void;
  attach(memory: WebAssembly.Memory, gas: WebAssembly.Global<"i64">): void;
  /** The error of the host function that ended the guest, if one did: it explains the trap that the caller catches. */
  readonly thrown: unknown;
  readonly imports: Record<string, (...values: (number | bigint)[]) => number>;
}

export interface End {
  kind: "exited" | "trapped" | "out_of_gas" | "output_limit" | "system_error";
  code: number;
  trap: string;
  detail: string;
}

export const FUNCTIONS: readonly string[];
export function explain(thrown: unknown): End;
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer>;
