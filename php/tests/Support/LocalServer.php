<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

/** A process that listens on a Unix socket and says one thing to each client. */
final class LocalServer
{
    private const CODE = <<<'PHP'
        $server = stream_socket_server("unix://$argv[1]");
        echo "ready\n";
        while ($client = stream_socket_accept($server, 60)) {
            fwrite($client, base64_decode($argv[2]));
            $argv[3] === 'close' ? fclose($client) : $kept[] = $client;
        }
        PHP;

    /** @var resource */
    private $process;

    /** @param string $says in base64, as arguments hold no NUL */
    public function __construct(string $path, string $says, bool $closes)
    {
        $code = self::CODE;
        $process = proc_open(
            [PHP_BINARY, '-r', $code, '--', $path, $says, $closes ? 'close' : 'keep'],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
        );
        if ($process === false || fgets($pipes[1]) !== "ready\n") {
            throw new \RuntimeException('the server does not start');
        }
        $this->process = $process;
    }

    public function stop(): void
    {
        proc_terminate($this->process, 9);
        proc_close($this->process);
    }
}
