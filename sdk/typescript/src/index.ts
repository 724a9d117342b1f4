export * from "./errors.js";
export { base64, hex, unbase64, unhex, utf8, fromUtf8, type Bytes } from "./bytes.js";
export { digestAsync, encodeList, listDigest, sha256 } from "./digest.js";
export { keyId, keyProblem, verifySignature } from "./ed25519.js";
export { isSignedBy, pae, parseEnvelope, PAYLOAD_TYPE, type Envelope, type Signature } from "./envelope.js";
export { Handle } from "./handle.js";
export { DEFAULT_FILE_LIMITS, isGuestPath, type FileLimits, type JobFiles, type Product } from "./job-files.js";
export { JobTree, type FileContent, type InputFiles, type TreeTerms } from "./job-tree.js";
export { parseJson, type Json, type JsonObject } from "./json.js";
export {
  CAPABILITIES, DEFAULT_LIMITS, inputBytes, jobId, Manifest, MANIFEST_FORMAT, taskDigest, taskPreimage, ZERO_SEED,
  type Capability, type InputBytes, type JobInput, type Limits, type TaskFields, type Terms,
} from "./manifest.js";
export { inclusionProof, isIncluded, leafHash, merkleRoot } from "./merkle.js";
export {
  parseBatch, parseBatchReceipt, verifyBatch,
  type BatchDocument, type BatchProof, type BatchReceipt, type BatchVerification,
} from "./batch.js";
export { PeerId } from "./peer.js";
export {
  describeOutcome, isRecheckable, parseReceipt, RECHECKABLE, TRAP_KINDS,
  type Asked, type Claims, type Outcome, type OutcomeKind, type OutputDigest, type Receipt, type TrapKind,
} from "./receipt.js";
export { ProofRefusedError, verifyFraud, type FraudComparison, type FraudRefusal } from "./fraud.js";
export { contradictions } from "./consistency.js";
export {
  sentence, verdictWords, verifyReceipt, type Decision, type Expectation, type Standing, type Verification,
} from "./verify.js";
export { execute, type Observed, type Task } from "./execute.js";
export { engineName, reexecute, runInWorker, type Reexecution, type ReexecuteOptions } from "./reexecute.js";
export { meter, type Metered } from "./metering/rewrite.js";
export {
  PlasmClient, type Mapped, type MapOptions, type ResultOptions, type SubmitOptions,
} from "./client.js";
export type { Waiting } from "./deadline.js";
export { ResultFile, ResultFiles } from "./result-files.js";
export { encodeListing, readListing, type TreeEntry } from "./tree-listing.js";
export {
  Batches, goesOn, type Batch, type BatchCounts, type BatchJob, type BatchJobResult, type BatchOptions, type JobDescription,
} from "./web-batches.js";
export type { HttpOptions } from "./http.js";
export { JobFollower, type Followed, type Shown } from "./job-follower.js";
export {
  isLive, LIVE_STATES, type Check, type Connection, type Job, type JobChange, type JobEvent, type JobResult, type JobState, type NodeState, type Peer, type Sample,
} from "./jobs.js";
