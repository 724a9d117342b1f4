<?php

declare(strict_types=1);

namespace Plasm;

/** The directories below the user's state directory, and files in them that only this user can read. */
final class StateDirectory
{
    /** Return a private directory, created if it is missing; null if this user has none. */
    public static function of(string $name): ?string
    {
        $state = getenv('XDG_STATE_HOME');
        if (!is_string($state) || !str_starts_with($state, '/')) {
            $home = getenv('HOME');
            if (!is_string($home) || !str_starts_with($home, '/')) {
                return null;
            }
            $state = "$home/.local/state";
        }
        $directory = "$state/plasm/$name";
        if (!@is_dir($directory)) {
            @mkdir($directory, 0700, true);
            clearstatcache(true, $directory);
        }
        $status = @lstat($directory);

        // Another owner could plant links where this user writes, and read what is written.
        return $status !== false && ($status['mode'] & 0170022) === 0040000
            && $status['uid'] === self::user() && @is_writable($directory) ? $directory : null;
    }

    /**
     * Return the effective user id of this process: the owner of the files that it creates; -1 if it cannot create
     * any.
     */
    public static function user(): int
    {
        static $user = null;
        if ($user === null) {
            $file = @tmpfile();
            $user = $file === false ? -1 : fstat($file)['uid'] ?? -1;
        }

        return $user;
    }

    /** Replace a file atomically. Return whether it was written. */
    public static function write(string $path, string $bytes): bool
    {
        $draft = dirname($path) . '/.' . bin2hex(random_bytes(8));
        $mask = umask(0077);
        $file = @fopen($draft, 'x');
        umask($mask);
        if ($file === false) {
            return false;
        }
        $isWritten = @fwrite($file, $bytes) === strlen($bytes) && @fflush($file) && @fsync($file);
        fclose($file);
        if ($isWritten && @rename($draft, $path)) {
            return true;
        }
        @unlink($draft);

        return false;
    }
}
