<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;

/** The number of repeated calls and the pauses between them: exponential backoff with full jitter. */
final readonly class RetryPolicy
{
    /**
     * @param int $attempts in all; 1 for never again
     * @param float $firstS the longest pause before the second attempt; it doubles with each
     * @param float $longestS the greatest pause; a node that asks for a longer one is not asked again
     */
    public function __construct(public int $attempts = 5, public float $firstS = 0.2, public float $longestS = 10.0)
    {
        if ($attempts < 1 || !($firstS >= 0) || !($longestS >= 0)) {
            throw new InvalidArgument('a call is attempted at least once, and no pause is shorter than 0 s');
        }
    }

    public static function never(): self
    {
        return new self(attempts: 1);
    }

    /** Return a number from 0 to 1 of the system's randomness: a program may seed PHP's own for its experiments. */
    public static function chance(): float
    {
        return random_int(0, PHP_INT_MAX) / PHP_INT_MAX;
    }

    /**
     * Return the pause after an attempt.
     *
     * @param int $attempt 1 for the first
     * @param float $chance 0 to 1: where in the pause's range it falls
     */
    public function pause(int $attempt, float $chance): float
    {
        return $chance * min($this->longestS, $this->firstS * 2 ** min(30, $attempt - 1));
    }
}
