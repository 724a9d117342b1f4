/** The receipt: an in-toto Statement v1 about one run (docs/receipts.md). */

import { InvalidRecordError, PlasmError } from "./errors.js";
import { Fields } from "./fields.js";
import { MAX_PATHS, readFiles, type JobFiles, type Product } from "./job-files.js";
import { parseJson } from "./json.js";
import { capabilities, checkProfile, GAS_SCHEDULES, PROFILES, readEntry, taskDigest, type Profile } from "./manifest.js";
import { PeerId } from "./peer.js";

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
export const PREDICATE_TYPE = "urn:phase:receipt:v0";
const MAX_STATEMENT_BYTES = 512 << 10;

export const RECHECKABLE = ["exited", "trapped", "out_of_gas", "output_limit"] as const;
export const CLAIMED = ["timed_out", "cancelled", "system_error"] as const;
export const TRAP_KINDS = [
  "unreachable", "memory_out_of_bounds", "table_out_of_bounds", "indirect_call_to_null", "bad_signature",
  "integer_overflow", "integer_division_by_zero", "bad_conversion_to_integer", "stack_exhausted",
  "uncaught_exception", "null_reference",
] as const;

export type OutcomeKind = (typeof RECHECKABLE)[number] | (typeof CLAIMED)[number];
export type TrapKind = (typeof TRAP_KINDS)[number];

/** How a run ended. `code` goes with `exited`, `trap` with `trapped`, `detail` with what only the node can know. */
export interface Outcome {
  readonly kind: OutcomeKind;
  readonly code?: number | undefined;
  readonly trap?: TrapKind | undefined;
  readonly detail?: string | undefined;
}

/** Size and SHA-256 of an output. */
export interface OutputDigest {
  readonly sizeBytes: bigint;
  readonly sha256: string;
}

export interface Asked {
  readonly jobId: string;
  readonly taskDigest: string;
  readonly profile: Profile;
  readonly module: string;
  readonly args: string;
  readonly env: string;
  readonly stdin: string;
  readonly seed: string;
  readonly limits: { readonly gas: bigint; readonly memoryBytes: bigint; readonly outputBytes: bigint };
  readonly capabilities: readonly string[];
  readonly files: JobFiles | undefined;
  readonly entry: string | undefined;
}

/** What only the node can know. Times in microseconds since 1970. */
export interface Claims {
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly wallTimeMs: bigint;
  readonly cpuTimeMs: bigint;
  readonly peakMemoryBytes: bigint;
  readonly runtime: { readonly name: string; readonly version: string };
  readonly isolation: "process" | "shared";
  readonly attempt: number;
}

export interface Receipt {
  readonly stdout: OutputDigest;
  readonly stderr: OutputDigest;
  readonly files: readonly Product[];
  readonly asked: Asked;
  readonly outcome: Outcome;
  readonly reproducible: boolean;
  readonly gasUsed: bigint;
  readonly gasSchedule: string;
  readonly claims: Claims;
  readonly node: PeerId;
}

/** Whether every other run of the task must end in the same way. */
export function isRecheckable(outcome: Outcome): boolean {
  return (RECHECKABLE as readonly string[]).includes(outcome.kind);
}

/** An outcome in words, such as `exited with code 0`. */
export function describeOutcome({ kind, code, trap, detail }: Outcome): string {
  if (kind === "exited") return `exited with code ${code}`;
  if (kind === "trapped") return `trapped: ${trap}`;
  const words = kind.replaceAll("_", " ");
  return detail === undefined || detail === "" ? words : `${words}: ${detail}`;
}

/** Parse a statement, the payload of a receipt's envelope. Throws: `InvalidRecordError`. */
export function parseReceipt(statement: Uint8Array): Receipt {
  const fields = new Fields(parseJson(statement, "receipt", MAX_STATEMENT_BYTES), "receipt");
  fields.oneOf("_type", STATEMENT_TYPE);
  fields.oneOf("predicateType", PREDICATE_TYPE);
  const subjects = fields.list("subject").map((subject) => ({
    name: subject.text("name", /^(?:stdout|stderr|(?:file|tree):[^\x00-\x1f\x7f]+)$/u, 1029),
    sha256: subject.fields("digest").digest("sha256"),
  }));
  const predicate = fields.fields("predicate");
  const asked = readAsked(predicate.fields("asked"));
  const result = predicate.fields("result");
  const outcome = readOutcome(result.fields("outcome"));
  const files = outputFiles(fields, subjects, asked);
  if (files.length > 0 && !isRecheckable(outcome)) {
    fields.fail("subject", `a job that ${describeOutcome(outcome)} leaves no files`);
  }
  const gasSchedule = result.oneOf("gasSchedule", ...Object.values(GAS_SCHEDULES));
  if (gasSchedule !== GAS_SCHEDULES[asked.profile]) result.fail("gasSchedule", "not that of the profile");
  const reproducible = result.boolean("reproducible");
  if (reproducible !== (asked.capabilities.length === 0)) result.fail("reproducible", "contradicts the capabilities");
  const output = (name: "stdout" | "stderr"): OutputDigest => ({
    sizeBytes: result.counter(`${name}Bytes`),
    sha256: subjects.find((subject) => subject.name === name)?.sha256 ?? "",
  });
  return {
    stdout: output("stdout"),
    stderr: output("stderr"),
    files,
    asked,
    outcome,
    reproducible,
    gasUsed: result.counter("gasUsed"),
    gasSchedule,
    claims: readClaims(predicate.fields("claims")),
    node: readPeer(predicate.fields("node")),
  };
}

function readAsked(fields: Fields): Asked {
  const limits = fields.fields("limits");
  const limit = (name: string, least: bigint, most: bigint): bigint => {
    const value = limits.counter(name);
    if (value < least || value > most) limits.fail(name, "no manifest can ask for it");
    return value;
  };
  const asked = {
    jobId: fields.digest("jobId"),
    taskDigest: fields.digest("taskDigest"),
    profile: fields.oneOf("profile", ...PROFILES),
    module: fields.digest("module"),
    args: fields.digest("args"),
    env: fields.digest("env"),
    stdin: fields.digest("stdin"),
    seed: fields.lowerHex("seed", 32),
    limits: {
      gas: limit("gas", 1n, 2n ** 53n - 1n),
      memoryBytes: limit("memoryBytes", 65_536n, 2n ** 32n),
      outputBytes: limit("outputBytes", 0n, 2n ** 40n),
    },
    capabilities: capabilities(fields),
    files: fields.has("files") ? readFiles(fields.fields("files"), true) : undefined,
    entry: readEntry(fields),
  };
  checkProfile(fields, asked);
  if (taskDigest(asked) !== asked.taskDigest) fields.fail("taskDigest", "not the digest of the fields beside it");
  return asked;
}

function readOutcome(fields: Fields): Outcome {
  const kind = fields.oneOf("kind", ...RECHECKABLE, ...CLAIMED);
  const given = (name: string): boolean => fields.has(name) && fields.get(name) !== null;
  if (given("code") !== (kind === "exited")) fields.fail("code", "goes with exited, and only with it");
  if (given("trap") !== (kind === "trapped")) fields.fail("trap", "goes with trapped, and only with it");
  if (given("detail") && !(CLAIMED as readonly string[]).includes(kind)) {
    fields.fail("detail", "goes with timed_out, cancelled and system_error only");
  }
  return {
    kind,
    ...(given("code") ? { code: fields.integer("code", 0, 2 ** 32 - 1) } : {}),
    ...(given("trap") ? { trap: fields.oneOf("trap", ...TRAP_KINDS) } : {}),
    ...(given("detail") ? { detail: fields.text("detail", /^[^\x00-\x1f]*$/u, 512) } : {}),
  };
}

function readClaims(fields: Fields): Claims {
  const runtime = fields.fields("runtime");
  return {
    startedAt: fields.time("startedAt"),
    finishedAt: fields.time("finishedAt"),
    wallTimeMs: fields.counter("wallTimeMs"),
    cpuTimeMs: fields.counter("cpuTimeMs"),
    peakMemoryBytes: fields.counter("peakMemoryBytes"),
    runtime: {
      name: runtime.text("name", /^[a-z0-9_-]+$/, 64),
      version: runtime.text("version", /^[\x20-\x7e]*$/, 64),
    },
    isolation: fields.oneOf("isolation", "process", "shared"),
    attempt: fields.has("attempt") ? fields.integer("attempt", 1, 100) : 1,
  };
}

function readPeer(fields: Fields): PeerId {
  const text = fields.get("peerId");
  try {
    return PeerId.parse(typeof text === "string" ? text : "");
  } catch (error) {
    if (!(error instanceof PlasmError)) throw error;
    throw new InvalidRecordError("receipt", fields.where("peerId"), error.message);
  }
}

function outputFiles(fields: Fields, subjects: { name: string; sha256: string }[], asked: Asked): Product[] {
  const count = (name: string): number => subjects.filter((subject) => subject.name === name).length;
  if (subjects.length > 2 + MAX_PATHS || count("stdout") !== 1 || count("stderr") !== 1) {
    fields.fail("subject", "expected stdout and stderr, once each");
  }
  const found = new Map<string, Product>();
  for (const { name, sha256 } of subjects) {
    const colon = name.indexOf(":");
    if (colon < 0) continue;
    const path = name.slice(colon + 1);
    if (asked.files === undefined || !asked.files.outputs.includes(path) || found.has(path)) {
      fields.fail("subject", `${JSON.stringify(path)} is not an output of the task, once`);
    }
    found.set(path, { path, kind: name.startsWith("file:") ? "file" : "tree", sha256 });
  }
  return [...found.values()];
}
