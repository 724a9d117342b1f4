<?php

declare(strict_types=1);

namespace Plasm;

/**
 * The hint for a job that reached a limit: the option that raises the limit, and a value.
 *
 * @internal
 */
final readonly class LimitHint
{
    private const MAX_GAS = 2 ** 53 - 1;
    private const MAX_MEMORY_BYTES = 1 << 32;
    private const MAX_OUTPUT_BYTES = 1 << 40;
    private const MAX_WALL_S = 86_400;
    private const LEAST_OUTPUT_BYTES = 1 << 10;

    /**
     * Return the option that doubles the limit that a job reached; null if it reached no known limit.
     *
     * A job that gets no more memory fails by its own error, and few programs name the cause: if a failed job had used
     * half of its memory, the hint names memory as a possible cause.
     *
     * @param string $peakMemoryBytes a decimal number, as a receipt claims it
     */
    public static function of(Outcome $outcome, Limits $limits, string $peakMemoryBytes): ?string
    {
        return match ($outcome->kind) {
            OutcomeKind::OutOfGas => self::text('gas', $limits->gas, self::MAX_GAS, Quantity::gasText(...)),
            OutcomeKind::OutputLimit => self::text(
                'output',
                $limits->outputBytes,
                self::MAX_OUTPUT_BYTES,
                Quantity::bytesText(...),
                self::LEAST_OUTPUT_BYTES,
            ),
            OutcomeKind::TimedOut => self::ofWallTime($outcome->detail ?? ''),
            OutcomeKind::Exited, OutcomeKind::Trapped => $outcome->ok() || 2 * (float) $peakMemoryBytes < $limits->memoryBytes
                ? null
                : self::ofMemory($limits->memoryBytes),
            default => null,
        };
    }

    private static function ofWallTime(string $detail): ?string
    {
        return preg_match('/\Aafter ([0-9]{1,5}) s of wall time\z/', $detail, $found) === 1
            ? self::text('wall_time', (int) $found[1], self::MAX_WALL_S, static fn (int $value): string => "{$value}s")
            : null;
    }

    private static function ofMemory(int $bytes): ?string
    {
        $hint = self::text('memory', $bytes, self::MAX_MEMORY_BYTES, Quantity::bytesText(...));

        return $hint === null ? null : "if it lacked memory: $hint";
    }

    /** @param \Closure(int): string $written */
    private static function text(string $option, int $limit, int $most, \Closure $written, int $least = 0): ?string
    {
        $more = min(max(2 * $limit, $least), $most);

        return $more > $limit ? "'$option' => '{$written($more)}' (it was {$written($limit)})" : null;
    }
}
