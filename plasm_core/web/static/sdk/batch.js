/** Batches: their signed receipt, and the proof that a job belongs to a batch (docs/receipts.md, "Batches"). */
import { concat, hex, unhex } from "./bytes.js";
import { contradictions } from "./consistency.js";
import { isSignedBy, MAX_ENVELOPE_BYTES, pae, PAYLOAD_TYPE, readEnvelope } from "./envelope.js";
import { InvalidRecordError } from "./errors.js";
import { Fields } from "./fields.js";
import { parseJson } from "./json.js";
import { isIncluded, leafHash, MAX_LEAVES, merkleRoot } from "./merkle.js";
import { parseReceipt, STATEMENT_TYPE } from "./receipt.js";
export const BATCH_PREDICATE_TYPE = "urn:phase:batch:v0";
const BATCH_FORMAT = "plasm.batch/v0", PROOF_FORMAT = "plasm.batch-proof/v0";
const MAX_BATCH_STATEMENT_BYTES = 64 << 10, MAX_BATCH_BYTES = 1 << 28, MAX_PROOF = 32;
const NO_RECEIPT = leafHash(new Uint8Array(0));
/** Parse a batch's statement. Throws: `InvalidRecordError`. */
export function parseBatchReceipt(statement) {
    const fields = new Fields(parseJson(statement, "batch receipt", MAX_BATCH_STATEMENT_BYTES), "batch receipt");
    fields.oneOf("_type", STATEMENT_TYPE);
    fields.oneOf("predicateType", BATCH_PREDICATE_TYPE);
    const [subject, ...others] = fields.list("subject");
    if (subject === undefined || others.length > 0)
        return fields.fail("subject", "expected one");
    subject.oneOf("name", "receipts");
    const predicate = fields.fields("predicate");
    const count = (name) => Number(predicate.counter(name, BigInt(MAX_LEAVES)));
    const receipt = {
        root: unhex(subject.fields("digest").digest("rfc6962Sha256")),
        jobs: count("jobs"),
        receipts: count("receipts"),
        succeeded: count("succeeded"),
        module: predicate.digest("module"),
        createdAt: predicate.time("createdAt"),
        fanIn: predicate.has("fanIn") ? count("fanIn") : 0,
    };
    if (receipt.succeeded > receipt.receipts || receipt.receipts > receipt.jobs) {
        fields.fail("predicate", "more receipts than jobs");
    }
    return receipt;
}
/** Read `batch.json`, or the proof of one job. Throws: `InvalidRecordError`. */
export function parseBatch(json) {
    const fields = new Fields(parseJson(json, "batch", MAX_BATCH_BYTES), "batch");
    const format = fields.oneOf("format", BATCH_FORMAT, PROOF_FORMAT);
    const envelope = readEnvelope(fields.get("batch"), 0);
    if (envelope.payloadType !== PAYLOAD_TYPE)
        fields.fail("batch.payloadType", `expected ${PAYLOAD_TYPE}`);
    const receipt = parseBatchReceipt(envelope.payload);
    if (format === BATCH_FORMAT)
        return { kind: "batch", envelope, receipt, leaves: hashes(fields, "leaves", MAX_LEAVES) };
    const job = fields.integer("job", 0), inner = fields.get("receipt");
    return {
        kind: "proof", envelope, receipt, job,
        inclusion: hashes(fields, "inclusion", MAX_PROOF),
        jobEnvelope: inner === null ? undefined : readEnvelope(withinBounds(fields, inner)),
    };
}
function withinBounds(fields, value) {
    if (JSON.stringify(value).length > MAX_ENVELOPE_BYTES)
        fields.fail("receipt", "too long");
    return value;
}
function hashes(fields, name, maximum) {
    const listed = fields.get(name);
    if (!Array.isArray(listed) || listed.length > maximum)
        fields.fail(name, `expected a list of at most ${maximum} hashes`);
    return listed.map((item, index) => {
        if (typeof item !== "string" || !/^[0-9a-f]{64}$/.test(item)) {
            fields.fail(`${name}[${index}]`, "expected 64 lower-case hexadecimal digits");
        }
        return unhex(item);
    });
}
/**
 * Verify a batch, or the proof that one job belongs to it.
 *
 * `trusted`: the keys of clients that the caller trusts. Without a signature of one of them the decision is `undecided`.
 * The receipt of a proof must be signed by the node that it names, and must not contradict itself.
 * Throws: `PlatformError`; never because of what is in the document.
 */
export async function verifyBatch(json, trusted = []) {
    const reasons = [];
    let signer, job;
    try {
        const found = parseBatch(json);
        for (const peer of trusted)
            if (signer === undefined && (await isSignedBy(found.envelope, peer)))
                signer = peer;
        if (found.kind === "batch")
            reasons.push(...documentProblems(found));
        else {
            const leaf = found.jobEnvelope === undefined ? NO_RECEIPT : leafHash(signedBytes(found.jobEnvelope));
            if (!isIncluded(leaf, found.job, found.receipt.jobs, found.inclusion, found.receipt.root)) {
                reasons.push(`the proof does not lead from job ${found.job} to the root of the batch`);
            }
            if (found.jobEnvelope !== undefined) {
                job = parseReceipt(found.jobEnvelope.payload);
                if (found.jobEnvelope.payloadType !== PAYLOAD_TYPE)
                    reasons.push(`the receipt is not of the type ${PAYLOAD_TYPE}`);
                if (!(await isSignedBy(found.jobEnvelope, job.node)))
                    reasons.push(`no signature of ${job.node}, the node it names, is valid`);
                reasons.push(...contradictions(job).map((rule) => `the receipt contradicts itself: ${rule}`));
            }
        }
    }
    catch (error) {
        if (!(error instanceof InvalidRecordError))
            throw error;
        reasons.push(error.message);
    }
    const decision = reasons.length > 0 ? "reject" : signer === undefined ? "undecided" : "accept";
    if (decision === "undecided")
        reasons.push("not signed by a key that you trust");
    return { decision, reasons, signer, job };
}
function documentProblems({ receipt, leaves }) {
    const problems = [], none = hex(NO_RECEIPT);
    if (leaves.length !== receipt.jobs)
        problems.push(`it has ${leaves.length} leaves, and the batch has ${receipt.jobs} jobs`);
    if (leaves.filter((leaf) => hex(leaf) !== none).length !== receipt.receipts) {
        problems.push("it has another number of receipts than it says");
    }
    if (hex(merkleRoot(leaves)) !== hex(receipt.root))
        problems.push("the root over its leaves is another than it says");
    return problems;
}
function signedBytes(envelope) {
    return concat(pae(envelope.payloadType, envelope.payload));
}
