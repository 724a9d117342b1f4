/** The rules between the fields of one receipt (docs/receipts.md, "Consistency"). */
import { sha256 } from "./digest.js";
import { isRecheckable } from "./receipt.js";
const CALL_GAS = 1000n, VECTOR_GAS = 8n;
const EARLIEST = 0n, LATEST = BigInt(Date.UTC(2262, 3, 11, 23, 47, 16)) * 1000n; // microseconds
const SPAN_TOLERANCE_MS = 500n, PROCESSOR_TOLERANCE_MS = 2000n, SHARED_PROCESSOR_MS = 86400000n;
const NOTHING = sha256(new Uint8Array(0));
const outputs = ({ stdout, stderr }) => [stdout, stderr];
const within = (receipt) => outputs(receipt).every(({ sizeBytes }) => sizeBytes <= receipt.asked.limits.outputBytes);
const magnitude = (value) => (value < 0n ? -value : value);
function leastGas(receipt) {
    const written = outputs(receipt).filter(({ sizeBytes }) => sizeBytes > 0n);
    const moved = written.reduce((sum, { sizeBytes }) => sum + CALL_GAS + VECTOR_GAS + sizeBytes, 0n);
    return 1n + moved + (receipt.outcome.kind === "output_limit" ? 1n : 0n);
}
const RULES = {
    "gas-within-limit": ({ gasUsed, asked }) => gasUsed <= asked.limits.gas,
    "out-of-gas-at-limit": ({ outcome, gasUsed, asked }) => outcome.kind !== "out_of_gas" || gasUsed >= asked.limits.gas,
    "gas-covers-run": (receipt) => !isRecheckable(receipt.outcome) || !within(receipt) || receipt.gasUsed >= leastGas(receipt),
    "output-within-limit": within,
    "output-limit-reached": (receipt) => receipt.outcome.kind !== "output_limit" ||
        outputs(receipt).some(({ sizeBytes }) => sizeBytes >= receipt.asked.limits.outputBytes),
    "empty-output-digest": (receipt) => outputs(receipt).every(({ sizeBytes, sha256: digest }) => (sizeBytes === 0n) === (digest === NOTHING)),
    "same-digest-same-size": ({ stdout, stderr }) => stdout.sha256 !== stderr.sha256 || stdout.sizeBytes === stderr.sizeBytes,
    "clock-range": ({ claims }) => [claims.startedAt, claims.finishedAt].every((moment) => EARLIEST <= moment && moment < LATEST),
    "finished-after-started": ({ claims }) => claims.startedAt <= claims.finishedAt,
    "wall-time-is-span": ({ claims }) => magnitude(claims.finishedAt - claims.startedAt - 1000n * claims.wallTimeMs) <= 1000n * SPAN_TOLERANCE_MS,
    "processor-within-wall-time": ({ claims }) => claims.cpuTimeMs <=
        claims.wallTimeMs + PROCESSOR_TOLERANCE_MS + (claims.isolation === "shared" ? SHARED_PROCESSOR_MS : 0n),
};
/** The names of the rules that a receipt breaks. `manifest`: if the caller has it. */
export function contradictions(receipt, manifest) {
    const broken = Object.keys(RULES).filter((name) => RULES[name]?.(receipt) === false);
    if (manifest !== undefined && receipt.claims.attempt > manifest.attempts)
        broken.push("attempt-within-retries");
    return broken;
}
