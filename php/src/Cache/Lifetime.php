<?php

declare(strict_types=1);

namespace Plasm\Cache;

/** Until when a value is kept. */
final class Lifetime
{
    /**
     * Return when what is kept from `$now` on ends, by the same clock, in seconds; INF for no end.
     *
     * What outlives the process goes by the wall clock, and is kept for longer or less if that is set meanwhile.
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
