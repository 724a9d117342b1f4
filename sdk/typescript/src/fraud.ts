/** Fraud proofs: signed receipts of one task, of which at least one is false (docs/fraud-proofs.md). */

import { unbase64, type Bytes } from "./bytes.js";
import { digestAsync, sha256 } from "./digest.js";
import { isSignedBy, PAYLOAD_TYPE, readEnvelope, type Envelope } from "./envelope.js";
import { InvalidRecordError, PlasmError } from "./errors.js";
import { Fields } from "./fields.js";
import { parseJson } from "./json.js";
import { describeOutcome, isRecheckable, parseReceipt, type Asked, type Receipt } from "./receipt.js";

const FRAUD_PROOF_FORMAT = "plasm.fraud-proof/v0";
const MAX_FRAUD_PROOF_BYTES = 16 << 20, MAX_RECEIPTS = 64;
const INPUTS = ["module", "args", "env", "stdin"] as const;
const NOTHING = sha256(new Uint8Array(0));

export type FraudRefusal =
  | "malformed-proof" | "malformed-receipt" | "forged-signature" | "unequal-tasks" | "not-reproducible" | "wrong-input"
  | "not-recheckable";

/** A fraud proof proves nothing. `code` is the reason's stable name. */
export class ProofRefusedError extends PlasmError {
  constructor(
    readonly code: FraudRefusal,
    message: string,
  ) {
    super(message);
  }
}

/** What a fraud proof shows before its task is run. */
export interface FraudComparison {
  readonly asked: Asked;
  /** The receipts that count: those that another run can contradict. */
  readonly receipts: readonly Receipt[];
  /** Whether two of them differ, so that at least one is false. */
  readonly differ: boolean;
  /** The nodes that signed two different results of the task, by their PeerIds. */
  readonly convicted: readonly string[];
  /** The inputs of the task that the proof does not have. */
  readonly missing: readonly string[];
}

/**
 * Check a fraud proof's signatures and inputs, and compare its receipts: a receipt counts only if the node that it
 * names signed it. Throws: `ProofRefusedError`; `PlatformError` where the platform cannot check signatures.
 */
export async function verifyFraud(json: Uint8Array): Promise<FraudComparison> {
  const { envelopes, inputs } = readProof(json);
  const receipts: Receipt[] = [];
  for (const envelope of envelopes) receipts.push(await signedReceipt(envelope));
  const { asked } = receipts[0] as Receipt;
  if (receipts.some((receipt) => receipt.asked.taskDigest !== asked.taskDigest)) {
    throw new ProofRefusedError("unequal-tasks", "the receipts are not all of one task");
  }
  if (!receipts.every((receipt) => receipt.reproducible)) {
    throw new ProofRefusedError("not-reproducible", "the job used the real time or real randomness: no other run needs to agree with it");
  }
  for (const [name, data] of inputs) {
    if ((await digestAsync(data)) !== asked[name]) throw new ProofRefusedError("wrong-input", `the ${name} in the proof is not the task's`);
  }
  const settled = receipts.filter(({ outcome }) => isRecheckable(outcome));
  if (settled.length === 0) {
    const said = [...new Set(receipts.map(({ outcome }) => describeOutcome(outcome)))];
    throw new ProofRefusedError("not-recheckable", `no other run can contradict an outcome that is only the node's claim: ${said.join(", ")}`);
  }
  const first = new Map<string, string>(), convicted = new Set<string>();
  for (const receipt of settled) {
    const node = receipt.node.toString(), said = first.get(node) ?? observables(receipt);
    first.set(node, said);
    if (observables(receipt) !== said) convicted.add(node);
  }
  return {
    asked, receipts: settled,
    differ: new Set(settled.map(observables)).size > 1,
    convicted: [...convicted],
    missing: INPUTS.filter((name) => !inputs.has(name) && asked[name] !== NOTHING),
  };
}

/** All that two executions of one task must agree on, as a text. */
function observables({ outcome, gasUsed, stdout, stderr, files }: Receipt): string {
  const { kind, code, trap } = outcome, left = [...files].sort((one, other) => (one.path < other.path ? -1 : 1));
  const outputs = [stdout, stderr].flatMap(({ sha256: digest, sizeBytes }) => [digest, sizeBytes.toString()]);
  return JSON.stringify([kind, code, trap, gasUsed.toString(), ...outputs, left.map((item) => [item.path, item.kind, item.sha256])]);
}

function readProof(json: Uint8Array): { envelopes: Envelope[]; inputs: Map<(typeof INPUTS)[number], Bytes> } {
  try {
    const fields: Fields = new Fields(parseJson(json, "fraud proof", MAX_FRAUD_PROOF_BYTES), "fraud proof");
    fields.oneOf("format", FRAUD_PROOF_FORMAT);
    const listed = fields.get("receipts");
    if (!Array.isArray(listed) || listed.length < 1 || listed.length > MAX_RECEIPTS) {
      fields.fail("receipts", `expected a list of 1 to ${MAX_RECEIPTS} envelopes`);
    }
    const inputs = new Map<(typeof INPUTS)[number], Bytes>();
    const given: Fields | undefined = fields.has("inputs") ? fields.fields("inputs") : undefined;
    for (const name of INPUTS) {
      const value = given?.has(name) === true ? given.get(name) : undefined;
      if (value === undefined) continue;
      if (typeof value !== "string") throw new InvalidRecordError("fraud proof", `inputs.${name}`, "expected base64");
      inputs.set(name, unbase64(value));
    }
    return { envelopes: listed.map((item) => readEnvelope(item)), inputs };
  } catch (error) {
    if (!(error instanceof InvalidRecordError || error instanceof RangeError)) throw error;
    throw new ProofRefusedError("malformed-proof", error.message);
  }
}

async function signedReceipt(envelope: Envelope): Promise<Receipt> {
  if (envelope.payloadType !== PAYLOAD_TYPE) throw new ProofRefusedError("malformed-receipt", `an envelope is not of the type ${PAYLOAD_TYPE}`);
  let receipt: Receipt;
  try {
    receipt = parseReceipt(envelope.payload);
  } catch (error) {
    if (!(error instanceof InvalidRecordError)) throw error;
    throw new ProofRefusedError("malformed-receipt", error.message);
  }
  if (!(await isSignedBy(envelope, receipt.node))) {
    throw new ProofRefusedError("forged-signature", `${receipt.node} has not signed the receipt that names it`);
  }
  return receipt;
}
