/** Verification: does the receipt belong to this job, and did a trusted key sign it? */

import { contradictions } from "./consistency.js";
import { digestAsync, listDigest } from "./digest.js";
import { isSignedBy, parseEnvelope, PAYLOAD_TYPE, type Envelope } from "./envelope.js";
import { InvalidRecordError } from "./errors.js";
import { utf8 } from "./bytes.js";
import { JobTree } from "./job-tree.js";
import { inputBytes, Manifest, type JobInput } from "./manifest.js";
import { PeerId } from "./peer.js";
import { describeOutcome, parseReceipt, type Receipt } from "./receipt.js";

export type Decision = "accept" | "reject" | "undecided";

/** How the user knows the node that signed: it is the user's own, one that the user named, or a stranger. */
export type Standing = "own" | "named" | "stranger";

/** The caller's knowledge of the job, to compare with the receipt. Bytes are digested; texts are UTF-8. */
export interface Expectation {
  /** The keys that the caller trusts, as PeerIds. */
  readonly trusted?: readonly (PeerId | string)[] | undefined;
  /** The node that must have signed. */
  readonly peer?: PeerId | string | undefined;
  readonly jobId?: string | undefined;
  /** The manifest's bytes as they were sent. */
  readonly manifest?: Uint8Array | undefined;
  readonly module?: Uint8Array | undefined;
  readonly input?: JobInput | undefined;
  readonly stdout?: Uint8Array | undefined;
  readonly stderr?: Uint8Array | undefined;
}

export interface Verification {
  readonly decision: Decision;
  /** Why it is not accepted; empty if it is. */
  readonly reasons: readonly string[];
  /** The facts that were established, such as `signature`, `job`, `task`, `module`, `stdout`. */
  readonly established: readonly string[];
  readonly receipt: Receipt | undefined;
  readonly envelope: Envelope | undefined;
  /** The node whose signature is valid, trusted or not. */
  readonly signer: PeerId | undefined;
}

const NO_FILES = "none";
const SIZES = ["stdout", "stderr"] as const;

/**
 * Verify a receipt's envelope against what the caller knows.
 *
 * `reject`: damaged, about something else, contradicting itself, or not signed by the node that it names.
 * `undecided`: none of that, but the node's key is not among `trusted` (or `peer`).
 * Throws: `PlatformError` where the platform cannot check signatures; never because of what is in the envelope.
 */
export async function verifyReceipt(envelopeJson: Uint8Array | string, expectation: Expectation = {}): Promise<Verification> {
  const established: string[] = [], reasons: string[] = [];
  let envelope: Envelope | undefined, receipt: Receipt | undefined, signer: PeerId | undefined;
  let trusted: string[];
  try {
    envelope = parseEnvelope(typeof envelopeJson === "string" ? utf8(envelopeJson) : envelopeJson);
    if (envelope.payloadType !== PAYLOAD_TYPE) {
      throw new InvalidRecordError("envelope", "payloadType", `expected ${PAYLOAD_TYPE}`);
    }
    receipt = parseReceipt(envelope.payload);
    const manifest = expectation.manifest === undefined ? undefined : Manifest.parse(expectation.manifest);
    for (const [name, expected, found] of await pairs(receipt, manifest, expectation)) {
      if (expected === undefined) continue;
      if (expected === found) established.push(name);
      else reasons.push(`the ${name} is not what the receipt says: expected ${expected}, the receipt says ${found}`);
    }
    for (const name of SIZES) {
      const bytes = expectation[name];
      if (bytes !== undefined && BigInt(bytes.length) !== receipt[name].sizeBytes) {
        reasons.push(`the size of ${name} is not what the receipt says: expected ${bytes.length}, the receipt says ${receipt[name].sizeBytes}`);
      }
    }
    reasons.push(...contradictions(receipt, manifest).map((rule) => `the receipt contradicts itself: ${rule}`));
    trusted = [...(expectation.trusted ?? []), ...(expectation.peer === undefined ? [] : [expectation.peer])].map(String);
  } catch (error) {
    if (!(error instanceof InvalidRecordError)) throw error;
    return { decision: "reject", reasons: [error.message], established: [], receipt, envelope, signer: undefined };
  }
  if (await isSignedBy(envelope, receipt.node)) {
    signer = receipt.node;
    established.unshift("signature");
  } else reasons.push(`no signature of ${receipt.node}, the node it names, is valid`);
  if (reasons.length > 0) return { decision: "reject", reasons, established: [], receipt, envelope, signer };
  if (!trusted.includes(receipt.node.toString())) {
    const why = `signed by ${receipt.node}, a key that is not trusted here`;
    return { decision: "undecided", reasons: [why], established, receipt, envelope, signer };
  }
  return { decision: "accept", reasons: [], established, receipt, envelope, signer };
}

type Pair = readonly [name: string, expected: string | undefined, found: string];

async function pairs(receipt: Receipt, manifest: Manifest | undefined, expectation: Expectation): Promise<Pair[]> {
  const { asked } = receipt, digest = async (bytes: Uint8Array | undefined) => bytes && (await digestAsync(bytes));
  const input = expectation.input === undefined ? undefined : inputBytes(expectation.input);
  const tree = expectation.input === undefined ? undefined : await JobTree.from(expectation.input);
  return [
    ["peer that answered", expectation.peer?.toString(), receipt.node.toString()],
    ["module", await digest(expectation.module), asked.module],
    ["args", input && listDigest(input.args), asked.args],
    ["env", input && listDigest(input.env), asked.env],
    ["stdin", await digest(input?.stdin), asked.stdin],
    ["files", input && (tree?.digest ?? NO_FILES), asked.files?.tree ?? NO_FILES],
    ["stdout", await digest(expectation.stdout), receipt.stdout.sha256],
    ["stderr", await digest(expectation.stderr), receipt.stderr.sha256],
    ["job", manifest?.jobId ?? expectation.jobId, asked.jobId],
    ["job named", manifest && expectation.jobId, asked.jobId],
    ["task", manifest?.taskDigest, asked.taskDigest],
  ];
}

/** Say who signed, and whether anybody else ran the job (docs/network.md, 'What "verified" says'). */
export function verdictWords(signer: PeerId, standing: Standing, reexecuted = false): string {
  const who = { own: "", named: ", a node that you named", stranger: ", a node that you do not know" }[standing];
  const ran = reexecuted ? "re-executed" : standing === "stranger"
    ? "not re-executed: nobody but that node has run the job"
    : "not re-executed";
  return `signed by ${signer}${who}, ${ran}`;
}

/** The result of a verification in one sentence. */
export function sentence(found: Verification, standing: Standing = "own"): string {
  if (found.decision !== "accept" || found.receipt === undefined || found.signer === undefined) {
    return `receipt ${found.decision === "reject" ? "rejected" : "undecided"}: ${found.reasons.join("; ")}`;
  }
  const { outcome } = found.receipt, failed = outcome.kind !== "exited" || outcome.code !== 0;
  return `receipt verified ✓ ${verdictWords(found.signer, standing)}; the job ${failed ? "failed: " : ""}${describeOutcome(outcome)}`;
}
