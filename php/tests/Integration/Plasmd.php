<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** A real daemon with a directory of its own. */
final class Plasmd
{
    private const START_S = 30.0;

    public readonly string $directory;
    public readonly string $socket;

    /** @var resource|null */
    private $process = null;

    private function __construct(public readonly string $program)
    {
        $this->directory = sys_get_temp_dir() . '/plasm-php-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $this->socket = "$this->directory/plasmd.sock";
    }

    /** Return a daemon that listens; null if plasmd is not installed here. */
    public static function tryStart(): ?self
    {
        $places = [dirname(__DIR__, 3) . '/.venv/bin', ...explode(':', (string) getenv('PATH'))];
        foreach ($places as $place) {
            if (is_executable("$place/plasmd")) {
                $daemon = new self("$place/plasmd");
                $daemon->start();

                return $daemon;
            }
        }

        return null;
    }

    /** @return array<string, string> the environment in which clients find this daemon and no other */
    public function environment(): array
    {
        return [
            'PATH' => (string) getenv('PATH'),
            'HOME' => $this->directory,
            'PLASM_SOCKET' => $this->socket,
            'XDG_STATE_HOME' => "$this->directory/state",
            'XDG_CACHE_HOME' => "$this->directory/cache",
            'XDG_CONFIG_HOME' => "$this->directory/config",
        ];
    }

    public function start(): void
    {
        $log = ['file', "$this->directory/log", 'a'];
        $process = proc_open([$this->program], [['file', '/dev/null', 'r'], $log, $log], $pipes, null, $this->environment());
        if ($process === false) {
            throw new \RuntimeException('cannot start plasmd');
        }
        $this->process = $process;
        $deadline = microtime(true) + self::START_S;
        while (($probe = @stream_socket_client("unix://$this->socket")) === false) {
            if (!proc_get_status($process)['running'] || microtime(true) > $deadline) {
                throw new \RuntimeException('plasmd did not start: ' . file_get_contents("$this->directory/log"));
            }
            usleep(20_000);
        }
        fclose($probe);
    }

    /** End the daemon, and return when it has ended. */
    public function stop(): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** End the daemon and remove its directory. */
    public function remove(): void
    {
        $this->stop();
        $entries = new \RecursiveIteratorIterator(
            new \RecursiveDirectoryIterator($this->directory, \FilesystemIterator::SKIP_DOTS),
            \RecursiveIteratorIterator::CHILD_FIRST,
        );
        foreach ($entries as $entry) {
            $entry->isDir() && !$entry->isLink() ? rmdir($entry->getPathname()) : unlink($entry->getPathname());
        }
        rmdir($this->directory);
    }
}
