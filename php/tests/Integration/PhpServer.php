<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** PHP's own web server with a page, at a port that the system has chosen. */
final class PhpServer
{
    private const START_S = 30.0;
    private const ANSWER_S = 60;

    /** @param resource $process */
    private function __construct(private $process, private readonly string $log, private readonly string $address)
    {
    }

    /**
     * Serve a directory, and return when it listens.
     *
     * @param array<string, string> $environment
     * @param array<string, string> $settings of php.ini
     */
    public static function start(string $root, array $environment, array $settings = []): self
    {
        $log = tempnam(sys_get_temp_dir(), 'plasm-php-');
        if ($log === false) {
            throw new \RuntimeException('there is no temporary directory');
        }
        $to = ['file', $log, 'a'];
        $set = ['-d', 'error_reporting=-1', '-d', 'display_errors=1'];
        foreach ($settings as $name => $value) {
            array_push($set, '-d', "$name=$value");
        }
        $process = proc_open(
            [PHP_BINARY, ...$set, '-S', '127.0.0.1:0', '-t', $root],
            [['file', '/dev/null', 'r'], $to, $to],
            $pipes,
            null,
            $environment,
        );
        if ($process === false) {
            throw new \RuntimeException('cannot start PHP');
        }
        for ($end = microtime(true) + self::START_S; microtime(true) < $end; usleep(20_000)) {
            if (preg_match('~\((http://[0-9.:]+)\) started~', (string) file_get_contents($log), $found) === 1) {
                return new self($process, $log, $found[1]);
            }
        }
        proc_terminate($process, SIGKILL);
        throw new \RuntimeException('the server did not start: ' . file_get_contents($log));
    }

    public function get(string $path): string
    {
        return $this->request($path, []);
    }

    /**
     * Send a form with files.
     *
     * @param array<string, string> $files their contents by their names
     */
    public function post(string $path, string $field, array $files): string
    {
        $boundary = bin2hex(random_bytes(16));
        $body = '';
        foreach ($files as $name => $content) {
            $body .= "--$boundary\r\nContent-Disposition: form-data; name=\"$field\"; filename=\"$name\"\r\n"
                . "Content-Type: application/octet-stream\r\n\r\n$content\r\n";
        }

        return $this->request($path, [
            'method' => 'POST',
            'header' => "Content-Type: multipart/form-data; boundary=$boundary",
            'content' => "$body--$boundary--\r\n",
        ]);
    }

    public function stop(): void
    {
        proc_terminate($this->process, SIGKILL);
        proc_close($this->process);
        unlink($this->log);
    }

    /** @param array<string, string> $options of the context `http` */
    private function request(string $path, array $options): string
    {
        $context = stream_context_create(['http' => $options + ['timeout' => self::ANSWER_S, 'ignore_errors' => true]]);

        return (string) file_get_contents($this->address . $path, false, $context);
    }
}
