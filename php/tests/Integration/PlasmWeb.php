<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** A real `plasm web` on a free port of loopback, beside a real daemon. */
final class PlasmWeb
{
    private const START_S = 30.0;

    public string $url = '';
    public string $token = '';

    /** @var resource|null */
    private $process = null;

    /** @param list<string> $arguments of `plasm web` */
    private function __construct(
        private readonly string $program,
        public readonly Plasmd $daemon,
        private readonly array $arguments = [],
    ) {
    }

    /** Start another server beside this one, which speaks TLS; null if no certificate can be made here. */
    public function withTls(): ?self
    {
        [$certificate, $key] = ["{$this->daemon->directory}/tls.crt", "{$this->daemon->directory}/tls.key"];
        $made = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
            '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', $key, '-out', $certificate];
        exec(implode(' ', array_map(escapeshellarg(...), $made)) . ' 2>&1', $said, $code);
        if ($code !== 0) {
            return null;
        }
        $self = new self($this->program, $this->daemon, ['--tls-certificate', $certificate, '--tls-key', $key]);
        $self->start();

        return $self;
    }

    /** Return a server with its daemon; null if they are not installed here, or without the extra web. */
    public static function tryStart(): ?self
    {
        $program = dirname(__DIR__, 3) . '/.venv/bin/plasm';
        $python = dirname($program) . '/python';
        if (!is_executable($program)) {
            return null;
        }
        exec(escapeshellarg($python) . ' -c "import hypercorn, starlette, python_multipart, prometheus_client" 2>&1', $said, $code);
        $daemon = $code === 0 ? Plasmd::tryStart() : null;
        if ($daemon === null) {
            return null;
        }
        $self = new self($program, $daemon);
        $self->start();

        return $self;
    }

    /** Start it; on the port that it had before, if it was started before. */
    public function start(): void
    {
        $log = tempnam($this->daemon->directory, 'web');
        $listen = $this->url === '' ? '127.0.0.1:0' : (string) preg_replace('~\Ahttps?://|/\z~', '', $this->url);
        $process = proc_open(
            [$this->program, 'web', '--listen', $listen, ...$this->arguments],
            [['file', '/dev/null', 'r'], ['file', (string) $log, 'a'], ['file', (string) $log, 'a']],
            $pipes,
            null,
            $this->daemon->environment(),
        );
        if ($process === false) {
            throw new \RuntimeException('cannot start plasm web');
        }
        $this->process = $process;
        $deadline = microtime(true) + self::START_S;
        while (!str_contains($said = (string) file_get_contents((string) $log), 'serving')) {
            if (!proc_get_status($process)['running'] || microtime(true) > $deadline) {
                throw new \RuntimeException("plasm web did not start: $said");
            }
            usleep(20_000);
        }
        preg_match('~^listening on (https?://\S+)~m', $said, $found) === 1 || throw new \RuntimeException($said);
        $this->url = $found[1];
        $directory = $this->daemon->environment()['XDG_STATE_HOME'];
        $this->token = trim((string) file_get_contents((string) (glob("$directory/*/web/page.token")[0] ?? '')));
    }

    /** End the server, and return when it has ended. */
    public function stop(): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** End server and daemon, and remove their directory. */
    public function remove(): void
    {
        $this->stop();
        $this->daemon->remove();
    }
}
