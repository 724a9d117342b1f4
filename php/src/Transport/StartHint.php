<?php

declare(strict_types=1);

namespace Plasm\Transport;

/**
 * The command that starts a daemon on this machine: by systemd if the package is installed, else by hand.
 *
 * @internal
 */
final readonly class StartHint
{
    private const SYSTEM_DIRECTORY = '/run/plasm';
    private const UNIT_DIRECTORIES = ['etc/systemd/system', 'usr/lib/systemd/system', 'lib/systemd/system'];

    /**
     * Return the command that starts a daemon where this client looks for one.
     *
     * The package's unit serves only clients that look into /run/plasm, and only a machine that systemd has booted
     * (sd_booted(3)).
     *
     * @param list<string> $places sockets, or directories that hold some
     * @param string $root the directory that holds the system, with a slash at its end
     */
    public static function of(array $places, string $root = '/', ?int $user = null): string
    {
        if (!in_array(self::SYSTEM_DIRECTORY, $places, true) || !self::isUnitUsable($root)) {
            return 'start one with: plasmd --detach';
        }
        $user ??= function_exists('posix_geteuid') ? posix_geteuid() : null;

        return 'start it with: ' . ($user === 0 ? '' : 'sudo ') . 'systemctl start plasmd';
    }

    private static function isUnitUsable(string $root): bool
    {
        if (!@is_dir("{$root}run/systemd/system")) {
            return false;
        }
        foreach (self::UNIT_DIRECTORIES as $directory) {
            if (@file_exists("$root$directory/plasmd.service")) {
                return true;
            }
        }

        return false;
    }
}
