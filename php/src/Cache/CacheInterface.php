<?php

declare(strict_types=1);

namespace Plasm\Cache;

/**
 * The cache that this package uses: three methods of PSR-16, so that a PSR-16 class can also implement this
 * interface. Keys are letters, digits and `_`, at most 64; values are arrays and scalars.
 */
interface CacheInterface
{
    public function get(string $key, mixed $default = null): mixed;

    /** @param int|\DateInterval|null $ttl seconds to keep it for */
    public function set(string $key, mixed $value, int|\DateInterval|null $ttl = null): bool;

    public function delete(string $key): bool;
}
