<?php

declare(strict_types=1);

namespace Plasm\Cache;

/** Until when a value is kept. */
final class Lifetime
{
    /**
     * Return when a value stored at `$now` expires, by the same clock, in seconds; INF for never.
     *
     * A value that outlives the process uses the wall clock, so that setting the clock changes its lifetime.
     */
    public static function endsAt(int|\DateInterval|null $ttl, ?float $now = null): float
    {
        $now ??= microtime(true);
        $seconds = match (true) {
            $ttl === null => INF,
            is_int($ttl) => (float) $ttl,
            default => (float) (new \DateTimeImmutable('@0'))->add($ttl)->getTimestamp(),
        };

        return $now + $seconds;
    }
}
