/** Re-execution: a receipt's task run again here, and compared with what the receipt says. */

import { within, type Waiting } from "./deadline.js";
import { digestAsync, listDigest } from "./digest.js";
import { PlasmError } from "./errors.js";
import type { Observed, Task } from "./execute.js";
import type { Product } from "./job-files.js";
import { JobTree } from "./job-tree.js";
import { inputBytes, type JobInput } from "./manifest.js";
import { describeOutcome, isRecheckable, type Receipt } from "./receipt.js";
import type { Decision } from "./verify.js";
import { inNode, workerThreads } from "./worker-threads.js";

/** MiB of stack for the worker, where one can be asked for: 262,144 stack units take less than half of it. */
const STACK_MIB = 64;
const DEFAULT_TIMEOUT_S = 300;

export interface Reexecution {
  /** `undecided` if it could not be run here to its end, or is not to be compared. */
  readonly decision: Decision;
  readonly reasons: readonly string[];
  /** In one sentence. */
  readonly words: string;
  /** The outcome, output and gas of the run here, if it ended. */
  readonly observed: Observed | undefined;
}

/** `timeoutS`: the most seconds that the run may take, 300 if not given; one that takes longer is `undecided`. */
export type ReexecuteOptions = Waiting;

/** The engine of this platform, such as `V8`. */
export function engineName(): string {
  if (typeof process !== "undefined" && process.versions?.["v8"] !== undefined) return "V8";
  const agent = globalThis.navigator?.userAgent ?? "";
  if (/Chrom(e|ium)\//.test(agent)) return "V8";
  return /Gecko\//.test(agent) ? "SpiderMonkey" : "JavaScriptCore";
}

/**
 * Run the task of a receipt again in a worker, and compare output, outcome and gas with the receipt.
 *
 * `undecided`: the module or input is not at hand, the job is not reproducible, it takes too long, or this engine
 * cannot run it. Throws: `PlasmError` if `input` is not well formed; the signal's reason if it aborts.
 */
export async function reexecute(
  receipt: Receipt, module: Uint8Array, input: JobInput = {}, options: ReexecuteOptions = {},
): Promise<Reexecution> {
  const { asked } = receipt, { args, env, stdin } = inputBytes(input), tree = await JobTree.from(input);
  const missing = [
    ...((await digestAsync(module)) === asked.module ? [] : ["module"]),
    ...(listDigest(args) === asked.args ? [] : ["args"]),
    ...(listDigest(env) === asked.env ? [] : ["env"]),
    ...((await digestAsync(stdin)) === asked.stdin ? [] : ["stdin"]),
    ...(tree?.digest === asked.files?.tree ? [] : ["files"]),
  ];
  if (missing.length > 0) return undecided(`not at hand: the job's ${missing.join(", ")}`);
  if (!receipt.reproducible) return undecided(`the job had ${asked.capabilities.join(" and ")}: no run repeats it`);
  if (!isRecheckable(receipt.outcome)) return undecided(`the node says that the job ${describeOutcome(receipt.outcome)}, which nobody can check`);
  let observed: Observed;
  try {
    const files = asked.files && tree && { ...asked.files, listing: tree.listing, data: await tree.data() };
    const task: Task = { module, args, env, stdin, files, seed: asked.seed, limits: asked.limits, entry: asked.entry, profile: asked.profile };
    observed = await runInWorker(task, options);
  } catch (error) {
    if (options.signal?.aborted === true || !(error instanceof PlasmError)) throw error;
    return undecided(error.message);
  }
  if (observed.outcome === undefined) return { ...undecided(observed.detail), observed };
  const reasons = await differences(receipt, observed);
  if (reasons.length > 0 && observed.exceptions && !inNode()) {
    return { ...undecided("the module has exception handlers, which may have caught the end of this browser's stack"), observed };
  }
  if (reasons.length > 0) {
    return { decision: "reject", reasons, words: `re-executed here on ${engineName()}: ${reasons.join("; ")}`, observed };
  }
  const what = `output, ${asked.files === undefined ? "" : "files, "}${receipt.outcome.kind === "exited" ? "exit code" : "outcome"} and gas equal`;
  return { decision: "accept", reasons, words: `re-executed here on ${engineName()}: ${what}`, observed };
}

function undecided(reason: string): Reexecution {
  return { decision: "undecided", reasons: [reason], words: `not re-executed: ${reason}`, observed: undefined };
}

async function differences(receipt: Receipt, observed: Observed): Promise<string[]> {
  const pairs = [
    ["the outcome", describeOutcome(receipt.outcome), describeOutcome(observed.outcome ?? receipt.outcome)],
    ["stdout", receipt.stdout.sha256, await digestAsync(observed.stdout)],
    ["stderr", receipt.stderr.sha256, await digestAsync(observed.stderr)],
    ["the gas", receipt.gasUsed.toString(), observed.gasUsed.toString()],
    ...(receipt.asked.files?.outputs ?? []).map((path) => [`the output ${path}`, product(receipt.files, path), product(observed.files, path)]),
  ];
  return pairs.filter(([, said, found]) => said !== found).map(([what, said, found]) => `${what} differs: the receipt says ${said}, here it is ${found}`);
}

/** An output as it is compared: its kind and digest, or that it is not there. */
function product(products: readonly Product[], path: string): string {
  const found = products.find((each) => each.path === path);
  return found === undefined ? "not there" : `the ${found.kind} ${found.sha256}`;
}

interface Answer {
  readonly observed?: Observed;
  readonly problem?: string;
}

interface WorkerHandle {
  post(task: Task): void;
  onAnswer(take: (answer: Answer) => void): void;
  onFailure(take: (reason: string) => void): void;
  end(): void;
}

/** Run a task in a worker of its own. Throws: `PlasmError` if it cannot be run; `WaitTimeoutError`. */
export async function runInWorker(task: Task, options: ReexecuteOptions = {}): Promise<Observed> {
  const { timeoutS = DEFAULT_TIMEOUT_S, signal } = options;
  signal?.throwIfAborted();
  const worker = await startWorker();
  try {
    return await within({ signal, timeoutS }, "the run has not ended here", async () => {
      const { observed, problem } = await new Promise<Answer>((resolve, reject) => {
        worker.onAnswer(resolve);
        worker.onFailure((reason) => reject(new PlasmError(`the worker failed: ${reason}`)));
        worker.post(task);
      });
      if (observed === undefined) throw new PlasmError(problem ?? "the worker gave no answer");
      return observed;
    });
  } finally {
    worker.end();
  }
}

const script = new URL("./worker.js", import.meta.url);

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown };
}

let policy: ReturnType<TrustedTypes["createPolicy"]> | undefined;

/** The script's address in the form that the policy `require-trusted-types-for 'script'` of a page demands. */
function trusted(url: URL): unknown {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  if (types === undefined) return url;
  policy ??= types.createPolicy("plasm-worker", { createScriptURL: (own) => own });
  return policy.createScriptURL(url.href);
}

async function startWorker(): Promise<WorkerHandle> {
  if (inNode()) {
    const threads = await workerThreads();
    const worker = new threads.Worker(script, { resourceLimits: { stackSizeMb: STACK_MIB } });
    return {
      post: (task) => worker.postMessage(task),
      onAnswer: (take) => void worker.once("message", take),
      onFailure: (take) => {
        worker.once("error", (error) => take(error instanceof Error ? error.message : String(error)));
        worker.once("exit", () => take("it ended"));
      },
      end: () => void worker.terminate(),
    };
  }
  const worker = new Worker(trusted(script) as URL, { type: "module", name: "plasm re-execution" });
  return {
    post: (task) => worker.postMessage(task),
    onAnswer: (take) => worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => take(data), { once: true }),
    onFailure: (take) => worker.addEventListener("error", (event) => take(event.message || "it could not start"), { once: true }),
    end: () => worker.terminate(),
  };
}
