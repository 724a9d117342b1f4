<?php

declare(strict_types=1);

namespace Plasm\Source;

use Plasm\Record\Printable;

/**
 * The hint for a path of this machine that leads nowhere: the name that may be meant, or where it was looked for.
 *
 * @internal
 */
final readonly class MissingPath
{
    private const CLOSE_PERCENT = 75.0;

    /** How many names of a directory are compared: more would take seconds. */
    private const MOST_NAMES = 10_000;

    /** Return the hint for a path that does not exist. */
    public static function hint(string $path): string
    {
        $path = rtrim($path, '/');
        $slash = strrpos($path, '/');
        $at = $slash === false ? '' : (substr($path, 0, $slash) ?: '/');
        $name = $slash === false ? $path : substr($path, $slash + 1);
        if (@is_link($path)) {
            return 'it is a symbolic link to ' . Printable::visible((string) @readlink($path)) . ', which leads nowhere';
        }
        $directory = $at === '' ? '.' : $at;
        $shown = Printable::visible(self::absolute($at));
        if (@is_file($directory)) {
            return Printable::visible($at) . ' is a file, not a directory';
        }
        $listed = @is_dir($directory) ? @opendir($directory) : false;
        if ($listed === false) {
            return "there is no directory $shown, or you may not list it";
        }
        $close = self::closest($name, $listed);
        closedir($listed);
        if ($close !== null) {
            return 'did you mean ' . Printable::visible($at === '' ? $close : rtrim($at, '/') . "/$close") . '?';
        }

        return "the directory $shown has no " . Printable::visible($name);
    }

    /** @param resource $directory */
    private static function closest(string $name, $directory): ?string
    {
        $best = null;
        $least = self::CLOSE_PERCENT;
        for ($seen = 0; $seen < self::MOST_NAMES && ($found = readdir($directory)) !== false; $seen++) {
            if ($found === '.' || $found === '..') {
                continue;
            }
            similar_text($name, $found, $percent);
            if ($percent >= $least && ($percent > $least || $best === null)) {
                [$best, $least] = [$found, $percent];
            }
        }

        return $best;
    }

    private static function absolute(string $path): string
    {
        $here = getcwd();

        return str_starts_with($path, '/') || $here === false ? $path : rtrim("$here/$path", '/');
    }
}
