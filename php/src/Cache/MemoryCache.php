<?php

declare(strict_types=1);

namespace Plasm\Cache;

/** Forgets everything when the process ends. */
final class MemoryCache implements CacheInterface
{
    /** @var array<string, array{mixed, float}> values, and when they end */
    private array $values = [];

    public function get(string $key, mixed $default = null): mixed
    {
        [$value, $endsAt] = $this->values[$key] ?? [$default, INF];

        return hrtime(true) / 1e9 < $endsAt ? $value : $default;
    }

    public function set(string $key, mixed $value, int|\DateInterval|null $ttl = null): bool
    {
        $this->values[$key] = [$value, Lifetime::endsAt($ttl, hrtime(true) / 1e9)];

        return true;
    }

    public function delete(string $key): bool
    {
        unset($this->values[$key]);

        return true;
    }
}
