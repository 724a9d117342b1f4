<?php

declare(strict_types=1);

namespace Plasm\Cache;

use Plasm\StateDirectory;

/**
 * Keeps each value in a file that only its user can read.
 *
 * It never throws: an unreadable value is missing, and a value that cannot be written is dropped.
 */
final class FileCache implements CacheInterface
{
    private const MAX_BYTES = 1 << 20;
    private const KEY = '/\A[A-Za-z0-9_]{1,64}\z/';

    public function __construct(private readonly string $directory)
    {
    }

    /** Return the cache in the user's own directory, else in a private one below the system's temporary directory. */
    public static function ofUser(): CacheInterface
    {
        foreach (self::places() as $directory) {
            if (PrivateDirectory::isPrivate($directory)) {
                return new self($directory);
            }
        }

        return new MemoryCache();
    }

    public function get(string $key, mixed $default = null): mixed
    {
        $path = $this->path($key);
        $json = @is_file($path) ? @file_get_contents($path, length: self::MAX_BYTES + 1) : false;
        if ($json === false || strlen($json) > self::MAX_BYTES) {
            return $default;
        }
        $kept = json_decode($json, true, 32);
        if (!is_array($kept) || !array_key_exists('value', $kept) || !is_numeric($kept['ends_at'] ?? INF)) {
            return $default;
        }

        return microtime(true) < (float) ($kept['ends_at'] ?? INF) ? $kept['value'] : $default;
    }

    public function set(string $key, mixed $value, int|\DateInterval|null $ttl = null): bool
    {
        $endsAt = Lifetime::endsAt($ttl);
        $json = json_encode(['value' => $value, 'ends_at' => is_finite($endsAt) ? $endsAt : null]);
        if ($json === false || strlen($json) > self::MAX_BYTES || !PrivateDirectory::isPrivate($this->directory)) {
            return false;
        }
        $path = $this->path($key);
        // Readable by its user alone from the beginning, and never seen half-written.
        $new = @tempnam($this->directory, 'new');
        if ($new === false) {
            return false;
        }
        if (@file_put_contents($new, $json) === strlen($json) && @rename($new, $path)) {
            return true;
        }
        @unlink($new);

        return false;
    }

    public function delete(string $key): bool
    {
        $path = $this->path($key);

        return !@file_exists($path) || @unlink($path);
    }

    private function path(string $key): string
    {
        if (preg_match(self::KEY, $key) !== 1) {
            throw new \InvalidArgumentException('a key of a cache is made of letters, digits and _');
        }

        return "$this->directory/$key.json";
    }

    /** @return list<string> */
    private static function places(): array
    {
        $places = [];
        foreach (['XDG_CACHE_HOME' => '/plasm/php', 'HOME' => '/.cache/plasm/php'] as $name => $below) {
            $home = getenv($name);
            if (is_string($home) && str_starts_with($home, '/')) {
                $places[] = $home . $below;
            }
        }

        return [...$places, sys_get_temp_dir() . '/plasm-php-' . StateDirectory::user()];
    }
}
