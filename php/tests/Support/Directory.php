<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

/** A directory of a test's own. */
final class Directory
{
    public static function make(): string
    {
        $path = sys_get_temp_dir() . '/plasm-files-' . bin2hex(random_bytes(8));
        mkdir($path, 0700);

        return $path;
    }

    public static function remove(string $path): void
    {
        if (is_dir($path) && !is_link($path)) {
            array_map(
                static fn (string $name) => $name === '.' || $name === '..' ? null : self::remove("$path/$name"),
                scandir($path) ?: [],
            );
            rmdir($path);
        } else {
            unlink($path);
        }
    }

    /** @return array<string, string|null> what is in it: bytes by path, null for a directory; links lead nowhere */
    public static function contents(string $path, string $below = ''): array
    {
        $found = [];
        foreach (array_diff(scandir($path) ?: [], ['.', '..']) as $name) {
            $isDirectory = is_dir("$path/$name") && !is_link("$path/$name");
            $found["$below$name"] = $isDirectory ? null : (is_link("$path/$name") ? '→' : (string) file_get_contents("$path/$name"));
            $found += $isDirectory ? self::contents("$path/$name", "$below$name/") : [];
        }
        ksort($found, SORT_STRING);

        return $found;
    }
}
