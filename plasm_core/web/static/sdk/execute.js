/** Runs a job on the engine of this thread: the rewriter's module with the WASI host of plasm.det. */
import { unhex } from "./bytes.js";
import { BadModuleError, PlasmError } from "./errors.js";
import { Gathered } from "./gathered.js";
import { FAULT_CONVERSION, FAULT_NULL_CALL, FAULT_STACK } from "./metering/body.js";
import { FAULT_GLOBAL, GAS_GLOBAL, meter, PAGES_GLOBAL } from "./metering/rewrite.js";
import { WASI_MODULE } from "./metering/module.js";
import { RunFiles } from "./run-files.js";
import { explain, Host } from "./wasi.mjs";
const PAGE_BYTES = 65_536, MAX_PAGES = 65_536;
/** The most bytes of each output that are kept: a task may ask for a TiB. */
export const MAX_KEPT_BYTES = 512 << 20;
/** More output than is kept. */
class TooMuchOutput extends PlasmError {
}
class Streams {
    stdin;
    kept = { 1: new Gathered(), 2: new Gathered() };
    lengths = { 1: 0, 2: 0 };
    position = 0;
    constructor(stdin) {
        this.stdin = stdin;
    }
    write(stream, bytes) {
        this.lengths[stream] += bytes.length;
        if (this.lengths[stream] > MAX_KEPT_BYTES)
            throw new TooMuchOutput("the job has more output than can be kept here");
        this.kept[stream].add(bytes);
    }
    read(target) {
        target.set(this.stdin.subarray(this.position, this.position + target.length));
        this.position += target.length;
    }
    output(stream) {
        return this.kept[stream].bytes;
    }
}
/**
 * Run a task on this thread, which is blocked until the run ends: gas is the only limit on its time.
 *
 * Throws: `BadModuleError` if no node would run the module, or this engine cannot.
 */
export function execute(task) {
    const pages = Math.min(Number(task.limits.memoryBytes) / PAGE_BYTES, MAX_PAGES) | 0;
    const metered = meter(task.module, task.entry);
    if (task.profile === "plasm.det/v1" && (metered.exceptions || metered.tailCalls)) {
        throw new BadModuleError("profile", "the module has exceptions or tail calls, which plasm.det/v1 lacks");
    }
    if (metered.memoryMinimumPages > pages) {
        throw new BadModuleError("memory_limit", `the module starts with ${metered.memoryMinimumPages} pages of memory, more than the limit of ${pages}`);
    }
    const streams = new Streams(task.stdin);
    const host = new Host({
        args: [...task.args], env: [...task.env], seed: unhex(task.seed),
        outputBytes: Number(task.limits.outputBytes), stdinBytes: task.stdin.length,
    }, streams);
    const files = task.files && new RunFiles(host, task.files);
    const { exports } = new WebAssembly.Instance(compiled(metered.code), { [WASI_MODULE]: host.imports });
    const global = (name) => exports[name];
    const gas = global(GAS_GLOBAL);
    gas.value = task.limits.gas;
    global(PAGES_GLOBAL).value = pages;
    host.attach(exports["memory"], gas);
    let end;
    try {
        let code;
        for (const name of metered.calls)
            code = exports[name]();
        end = { kind: "exited", code: (code ?? 0) >>> 0, trap: "", detail: "" };
    }
    catch (thrown) {
        end = explained(host.thrown ?? thrown);
    }
    const left = gas.value, gasUsed = left < 0n ? task.limits.gas : task.limits.gas - left;
    const [outcome, detail] = ended(end, left, global(FAULT_GLOBAL).value);
    return {
        outcome, detail, gasUsed, stdout: streams.output(1), stderr: streams.output(2),
        files: outcome === undefined ? [] : files?.left() ?? [], exceptions: metered.exceptions,
    };
}
function compiled(code) {
    try {
        return new WebAssembly.Module(code);
    }
    catch (error) {
        if (!(error instanceof WebAssembly.CompileError))
            throw error;
        throw new BadModuleError("engine_limit", `this engine does not take the metered module: ${error.message}`); // a limit of it
    }
}
function explained(thrown) {
    if (thrown instanceof TooMuchOutput)
        return { kind: "system_error", code: 0, trap: "", detail: thrown.message };
    const { Exception } = WebAssembly;
    if (Exception !== undefined && thrown instanceof Exception)
        return { kind: "trapped", code: 0, trap: "uncaught_exception", detail: "" };
    return explain(thrown);
}
function ended(end, left, fault) {
    if (end.kind === "system_error")
        return [undefined, end.detail];
    if (left < 0n)
        return [{ kind: "out_of_gas" }, ""];
    if (end.kind !== "trapped")
        return [end.kind === "exited" ? { kind: "exited", code: end.code } : { kind: end.kind }, ""];
    if (end.trap === "stack_exhausted")
        return [undefined, "the engine's own stack ended before the job's"];
    if (end.trap !== "unreachable" || fault === 0)
        return [{ kind: "trapped", trap: end.trap }, ""];
    const told = {
        [FAULT_STACK]: "stack_exhausted",
        [FAULT_NULL_CALL]: "indirect_call_to_null",
        [FAULT_CONVERSION]: "bad_conversion_to_integer",
    };
    const trap = told[fault];
    return trap === undefined ? [undefined, "this machine ran out of memory below the job's limit"] : [{ kind: "trapped", trap }, ""];
}
