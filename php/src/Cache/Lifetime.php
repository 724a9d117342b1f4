<?php

declare(strict_types=1);

namespace Plasm\Cache;

/** Until when a value is kept. */
final class Lifetime
{
    /** Return seconds since 1970; INF for no end. */
    public static function endsAt(int|\DateInterval|null $ttl): float
    {
        $now = microtime(true);

        return match (true) {
            $ttl === null => INF,
            is_int($ttl) => $now + $ttl,
            default => (float) (new \DateTimeImmutable('@' . (int) $now))->add($ttl)->getTimestamp(),
        };
    }
}
