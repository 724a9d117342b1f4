<?php

declare(strict_types=1);

namespace Plasm\Cache;

use Plasm\StateDirectory;

/** Directories and files that only this user owns and can access. */
final class PrivateDirectory
{
    /** Create a directory if it is missing. Return whether only this user owns and can access it. */
    public static function isPrivate(string $directory): bool
    {
        if (!@is_dir($directory)) {
            @mkdir($directory, 0700, true);
        }
        clearstatcache(true, $directory);
        $status = @lstat($directory);

        return $status !== false && ($status['mode'] & 0170077) === 0040000
            && $status['uid'] === StateDirectory::user() && @is_writable($directory);
    }

    /**
     * Open a regular file of this user for reading, and nothing else: a pipe may never give anything.
     *
     * @return resource|null
     */
    public static function open(string $path)
    {
        clearstatcache(true, $path);
        $status = @lstat($path);
        if ($status === false || ($status['mode'] & 0170000) !== 0100000 || $status['uid'] !== StateDirectory::user()) {
            return null;
        }
        $file = @fopen($path, 'rb');

        return $file === false ? null : $file;
    }
}
