<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** PHP in a process of its own, with every warning shown. */
final class PhpProcess
{
    private const PATIENCE_S = 90.0;

    /** @param resource $process */
    private function __construct(private $process, private readonly string $directory)
    {
    }

    /**
     * @param list<string> $arguments
     * @param array<string, string> $environment
     */
    public static function start(array $arguments, string $directory, array $environment = []): self
    {
        foreach (['output', 'errors'] as $name) {
            touch("$directory/$name");
        }
        $process = proc_open(
            [PHP_BINARY, '-d', 'error_reporting=-1', '-d', 'display_errors=stderr', ...$arguments],
            [['file', '/dev/null', 'r'], ['file', "$directory/output", 'w'], ['file', "$directory/errors", 'w']],
            $pipes,
            null,
            $environment + ['PATH' => (string) getenv('PATH'), 'HOME' => $directory, 'XDG_CACHE_HOME' => "$directory/cache"],
        );
        if ($process === false) {
            throw new \RuntimeException('cannot start PHP');
        }

        return new self($process, $directory);
    }

    /** Return PHP code that begins with the package loaded. */
    public static function loading(string $code): string
    {
        return 'require ' . var_export(dirname(__DIR__, 2) . '/autoload.php', true) . "; $code";
    }

    /** Wait until it has ended, and return exit status, stdout and stderr. */
    public function wait(): array
    {
        $end = microtime(true) + self::PATIENCE_S;
        while (($status = proc_get_status($this->process))['running']) {
            if (microtime(true) > $end) {
                proc_terminate($this->process, SIGKILL);
            }
            usleep(5_000);
        }
        proc_close($this->process);

        return [$status['exitcode'], ...array_map(
            fn (string $name): string => (string) file_get_contents("$this->directory/$name"),
            ['output', 'errors'],
        )];
    }
}
