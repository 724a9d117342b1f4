<?php

declare(strict_types=1);

namespace Plasm\Receipt;

use Plasm\Digest;
use Plasm\Manifest;
use Plasm\OutcomeKind;
use Plasm\Receipt;
use Plasm\Record\Fields;

/**
 * The consistency rules of a receipt: relations of its fields that hold for every run (docs/receipts.md,
 * "Consistency").
 *
 * A signature does not make a contradiction true. The rules are those of `plasm_core.records.consistency`;
 * tests/vectors/consistency.json tests both.
 */
final class Consistency
{
    /** The gas of `fd_write`, and of each of its vectors, in addition to 1 for each byte (docs/determinism.md, "Gas"). */
    private const CALL_GAS = 1_000;
    private const VECTOR_GAS = 8;

    /** The end of 64-bit nanoseconds since 1970, beyond which no system's clock goes: 2262-04-11T23:47:16Z. */
    private const LATEST_S = 9_223_372_036;

    /** The tolerance for receipts of older nodes, which read the clock separately for each of the three times. */
    private const SPAN_TOLERANCE_MS = 500;

    /** They also counted the worker's time before its job came, */
    private const PROCESSOR_TOLERANCE_MS = 2_000;

    /** and of a shared worker all its jobs. */
    private const SHARED_PROCESSOR_MS = 86_400_000;

    /**
     * Return the names of the rules that a receipt breaks.
     *
     * @param Manifest|null $manifest the manifest that was sent, if the caller has it
     *
     * @return list<string>
     */
    public static function contradictions(Receipt $receipt, ?Manifest $manifest = null): array
    {
        $observed = $receipt->observed;
        $claims = $receipt->claims;
        $limits = $receipt->asked->task->limits;
        $kind = $observed->outcome->kind;
        $gas = self::bounded($observed->gasUsed);
        $outputs = [
            [$observed->stdout, self::bounded($observed->stdoutBytes)],
            [$observed->stderr, self::bounded($observed->stderrBytes)],
        ];
        $sizes = array_column($outputs, 1);
        $isWithinLimit = max($sizes) <= $limits->outputBytes;
        $started = self::microseconds($claims->startedAt);
        $finished = self::microseconds($claims->finishedAt);
        $wall = self::bounded($claims->wallTimeMs);
        $before = $claims->isolation === 'shared' ? self::SHARED_PROCESSOR_MS : 0;
        $holds = [
            'gas-within-limit' => $gas <= $limits->gas,
            'out-of-gas-at-limit' => $kind !== OutcomeKind::OutOfGas || $gas >= $limits->gas,
            'gas-covers-run' => !$kind->recheckable() || !$isWithinLimit || $gas >= self::leastGas($kind, $sizes),
            'output-within-limit' => $isWithinLimit,
            'output-limit-reached' => $kind !== OutcomeKind::OutputLimit || max($sizes) >= $limits->outputBytes,
            'empty-output-digest' => array_filter($outputs, self::isMisnamed(...)) === [],
            'same-digest-same-size' => $observed->stdout !== $observed->stderr
                || $observed->stdoutBytes === $observed->stderrBytes,
            'clock-range' => min($started, $finished) >= 0 && max($started, $finished) < self::LATEST_S * 1_000_000,
            'finished-after-started' => $started <= $finished,
            'wall-time-is-span' => abs($finished - $started - 1_000 * $wall) <= 1_000 * self::SPAN_TOLERANCE_MS,
            'processor-within-wall-time' => self::bounded($claims->cpuTimeMs)
                <= $wall + self::PROCESSOR_TOLERANCE_MS + $before,
            'attempt-within-retries' => $manifest === null || $claims->attempt <= $manifest->attempts,
        ];

        return array_keys(array_filter($holds, static fn (bool $hold): bool => !$hold));
    }

    /**
     * Return the least gas that a re-checkable outcome with outputs of these sizes takes.
     *
     * @param list<int> $sizes
     */
    private static function leastGas(OutcomeKind $kind, array $sizes): int
    {
        $gas = $kind === OutcomeKind::OutputLimit ? 2 : 1; // entering _start, and the byte too many
        foreach ($sizes as $size) {
            $gas += $size === 0 ? 0 : self::CALL_GAS + self::VECTOR_GAS + $size;
        }

        return $gas;
    }

    /** @param array{string, int} $output digest and size */
    private static function isMisnamed(array $output): bool
    {
        return ($output[0] === Digest::EMPTY) !== ($output[1] === 0);
    }

    /**
     * Return a counter as an int, 2^53 if it is more.
     *
     * No limit is as great, and no time in milliseconds: a thousand times as much fits in an int still.
     */
    private static function bounded(string $counter): int
    {
        return min(strlen($counter) > 17 ? PHP_INT_MAX : (int) $counter, Fields::MAX_INTEGER + 1);
    }

    private static function microseconds(\DateTimeImmutable $moment): int
    {
        return (int) $moment->format('U') * 1_000_000 + (int) $moment->format('u');
    }
}
