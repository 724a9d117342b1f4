<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

/** A process that listens on TCP, takes an HTTP request, and answers with the bytes that it was given. */
final class WebAnswers
{
    /** The last of the answers is repeated. `-`: says nothing and keeps the connection. */
    private const CODE = <<<'PHP'
        $answers = explode("\n", stream_get_contents(STDIN));
        $server = stream_socket_server('tcp://127.0.0.1:0');
        echo substr(strrchr(stream_socket_get_name($server, false), ':'), 1), "\n";
        $kept = [];
        while ($client = stream_socket_accept($server, 60)) {
            $answer = count($answers) > 1 ? array_shift($answers) : $answers[0];
            for ($head = ''; !str_contains($head, "\r\n\r\n") && !feof($client);) {
                $head .= fread($client, 8192);
            }
            if ($answer === '-') {
                $kept[] = $client;
                continue;
            }
            @fwrite($client, base64_decode($answer));
            stream_socket_shutdown($client, STREAM_SHUT_WR);
            stream_set_timeout($client, 1);
            while (!feof($client) && fread($client, 65536) !== '') {
            }
            fclose($client);
        }
        PHP;

    /** @var resource */
    private $process;
    public readonly string $url;

    public function __construct(string ...$answers)
    {
        $encoded = array_map(static fn (string $answer): string => $answer === '-' ? '-' : base64_encode($answer), $answers);
        $process = proc_open(
            [PHP_BINARY, '-r', self::CODE],
            [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
        );
        if ($process !== false) {
            fwrite($pipes[0], implode("\n", $encoded));
            fclose($pipes[0]);
        }
        $port = $process === false ? false : fgets($pipes[1]);
        if ($process === false || $port === false) {
            throw new \RuntimeException('the server does not start');
        }
        $this->process = $process;
        $this->url = 'http://127.0.0.1:' . trim($port);
    }

    public function stop(): void
    {
        proc_terminate($this->process, 9);
        proc_close($this->process);
    }
}
