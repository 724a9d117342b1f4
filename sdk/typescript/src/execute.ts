/** Runs a job on the engine of this thread: the rewriter's module with the WASI host of plasm.det. */

import { unhex, type Bytes } from "./bytes.js";
import { BadModuleError, PlasmError } from "./errors.js";
import { Gathered } from "./gathered.js";
import type { Product } from "./job-files.js";
import { FAULT_CONVERSION, FAULT_NULL_CALL, FAULT_STACK } from "./metering/body.js";
import { FAULT_GLOBAL, GAS_GLOBAL, meter, PAGES_GLOBAL } from "./metering/rewrite.js";
import { WASI_MODULE } from "./metering/module.js";
import { RunFiles, type TaskFiles } from "./run-files.js";
import { explain, Host, type HostIO } from "./wasi.mjs";
import type { Outcome, TrapKind } from "./receipt.js";

const PAGE_BYTES = 65_536, MAX_PAGES = 65_536;
/** The most bytes of each output that are kept: a task may ask for a TiB. */
export const MAX_KEPT_BYTES = 512 << 20;

/** A task with its bytes. `seed`: 32 bytes in hexadecimal. */
export interface Task {
  readonly module: Uint8Array;
  readonly args: readonly Uint8Array[];
  readonly env: readonly Uint8Array[];
  readonly stdin: Uint8Array;
  readonly seed: string;
  readonly limits: { readonly gas: bigint; readonly memoryBytes: bigint; readonly outputBytes: bigint };
  /** The export to call in place of `_start`. */
  readonly entry?: string | undefined;
  readonly files?: TaskFiles | undefined;
  /** The profile of the task: plasm.det/v1 has neither exceptions nor tail calls. */
  readonly profile?: string | undefined;
}

/** The result of a run. `outcome` is undefined if this engine could not run it to its end: `detail` says why. */
export interface Observed {
  readonly outcome: Outcome | undefined;
  readonly detail: string;
  readonly gasUsed: bigint;
  readonly stdout: Bytes;
  readonly stderr: Bytes;
  /** The outputs that the job left, in any order. */
  readonly files: readonly Product[];
  /** Whether the module has exception handlers. On an engine with a small stack they may catch its end. */
  readonly exceptions: boolean;
}

/** More output than is kept. */
class TooMuchOutput extends PlasmError {}

class Streams implements HostIO {
  private readonly kept: Record<1 | 2, Gathered> = { 1: new Gathered(), 2: new Gathered() };
  private readonly lengths = { 1: 0, 2: 0 };
  private position = 0;

  constructor(private readonly stdin: Uint8Array) {}

  write(stream: 1 | 2, bytes: Uint8Array): void {
    this.lengths[stream] += bytes.length;
    if (this.lengths[stream] > MAX_KEPT_BYTES) throw new TooMuchOutput("the job has more output than can be kept here");
    this.kept[stream].add(bytes);
  }

  read(target: Uint8Array): void {
    target.set(this.stdin.subarray(this.position, this.position + target.length));
    this.position += target.length;
  }

  output(stream: 1 | 2): Bytes {
    return this.kept[stream].bytes;
  }
}

/**
 * Run a task on this thread, which is blocked until the run ends: gas is the only limit on its time.
 *
 * Throws: `BadModuleError` if no node would run the module, or this engine cannot.
 */
export function execute(task: Task): Observed {
  const pages = Math.min(Number(task.limits.memoryBytes) / PAGE_BYTES, MAX_PAGES) | 0;
  const metered = meter(task.module, task.entry);
  if (task.profile === "plasm.det/v1" && (metered.exceptions || metered.tailCalls)) {
    throw new BadModuleError("profile", "the module has exceptions or tail calls, which plasm.det/v1 lacks");
  }
  if (metered.memoryMinimumPages > pages) {
    throw new BadModuleError("memory_limit", `the module starts with ${metered.memoryMinimumPages} pages of memory, more than the limit of ${pages}`);
  }
  const streams = new Streams(task.stdin);
  const host = new Host(
    {
      args: [...task.args], env: [...task.env], seed: unhex(task.seed),
      outputBytes: Number(task.limits.outputBytes), stdinBytes: task.stdin.length,
    },
    streams,
  );
  const files = task.files && new RunFiles(host, task.files);
  const { exports } = new WebAssembly.Instance(compiled(metered.code), { [WASI_MODULE]: host.imports });
  const global = <T extends keyof WebAssembly.ValueTypeMap>(name: string) => exports[name] as WebAssembly.Global<T>;
  const gas = global<"i64">(GAS_GLOBAL);
  gas.value = task.limits.gas;
  global<"i32">(PAGES_GLOBAL).value = pages;
  host.attach(exports["memory"] as WebAssembly.Memory, gas);
  let end: ReturnType<typeof explain>;
  try {
    let code: number | undefined;
    for (const name of metered.calls) code = (exports[name] as () => number | undefined)();
    end = { kind: "exited", code: (code ?? 0) >>> 0, trap: "", detail: "" };
  } catch (thrown) {
    end = explained(host.thrown ?? thrown);
  }
  const left = gas.value, gasUsed = left < 0n ? task.limits.gas : task.limits.gas - left;
  const [outcome, detail] = ended(end, left, global<"i32">(FAULT_GLOBAL).value);
  return {
    outcome, detail, gasUsed, stdout: streams.output(1), stderr: streams.output(2),
    files: outcome === undefined ? [] : files?.left() ?? [], exceptions: metered.exceptions,
  };
}

function compiled(code: Bytes): WebAssembly.Module {
  try {
    return new WebAssembly.Module(code);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw new BadModuleError("engine_limit", `this engine does not take the metered module: ${error.message}`); // a limit of it
  }
}

function explained(thrown: unknown): ReturnType<typeof explain> {
  if (thrown instanceof TooMuchOutput) return { kind: "system_error", code: 0, trap: "", detail: thrown.message };
  const { Exception } = WebAssembly as unknown as { Exception?: new () => object };
  if (Exception !== undefined && thrown instanceof Exception) return { kind: "trapped", code: 0, trap: "uncaught_exception", detail: "" };
  return explain(thrown);
}

function ended(end: ReturnType<typeof explain>, left: bigint, fault: number): [Outcome | undefined, string] {
  if (end.kind === "system_error") return [undefined, end.detail];
  if (left < 0n) return [{ kind: "out_of_gas" }, ""];
  if (end.kind !== "trapped") return [end.kind === "exited" ? { kind: "exited", code: end.code } : { kind: end.kind }, ""];
  if (end.trap === "stack_exhausted") return [undefined, "the engine's own stack ended before the job's"];
  if (end.trap !== "unreachable" || fault === 0) return [{ kind: "trapped", trap: end.trap as TrapKind }, ""];
  const told: Record<number, TrapKind> = {
    [FAULT_STACK]: "stack_exhausted",
    [FAULT_NULL_CALL]: "indirect_call_to_null",
    [FAULT_CONVERSION]: "bad_conversion_to_integer",
  };
  const trap = told[fault];
  return trap === undefined ? [undefined, "this machine ran out of memory below the job's limit"] : [{ kind: "trapped", trap }, ""];
}
