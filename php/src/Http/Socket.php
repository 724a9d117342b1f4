<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Libp2p\Io\Loop;
use Plasm\Time\Deadline;

/** A TCP connection to a web server, with TLS where its URL says https. */
final class Socket
{
    /** A TLS record has no more: what one read leaves in OpenSSL's buffer would be invisible to `stream_select`. */
    private const READ_BYTES = 64 << 10;
    private const LONGEST_S = 3600.0;

    /** @param resource|null $socket */
    private function __construct(private $socket)
    {
    }

    /**
     * @param string|null $caFile certificates to trust in place of the system's
     *
     * @throws TransportException
     */
    public static function connect(BaseUrl $url, Deadline $deadline, ?string $caFile = null): self
    {
        $deadline->check("a connection to $url");
        $tls = ['peer_name' => trim($url->host, '[]'), 'SNI_enabled' => true, 'verify_peer' => true, 'verify_peer_name' => true];
        $context = stream_context_create(['ssl' => $caFile === null ? $tls : [...$tls, 'cafile' => $caFile]]);
        $seconds = min(self::LONGEST_S, $deadline->remaining());
        $address = ($url->isTls ? 'tls' : 'tcp') . "://$url->host:$url->port";
        $problem = null;
        set_error_handler(static function (int $level, string $message) use (&$problem): bool {
            // Of several warnings, the first has the cause.
            $problem ??= preg_replace(['/\A[a-z_]+\(\): /', '/\s+/'], ['', ' '], $message);

            return true;
        });
        try {
            $socket = stream_socket_client($address, $code, $message, $seconds, STREAM_CLIENT_CONNECT, $context);
        } finally {
            restore_error_handler();
        }
        if ($socket === false) {
            $deadline->check("a connection to $url");
            $reason = str_contains((string) $problem, 'SSL') ? $problem : ($message ?: "error $code");
            throw new Unreachable("no web server answers at $url: $reason", 'start one with: plasm web');
        }
        stream_set_read_buffer($socket, 0);
        stream_set_write_buffer($socket, 0);
        stream_set_blocking($socket, false);

        return new self($socket);
    }

    /**
     * Send all the bytes, waiting while the other side is slow to take them.
     *
     * @throws ConnectionLost
     * @throws TimedOut
     */
    public function write(#[\SensitiveParameter] string $bytes, Deadline $deadline): void
    {
        $length = strlen($bytes);
        for ($sent = 0; $sent < $length; $sent += $written) {
            $written = @fwrite($this->socket(), $sent === 0 ? $bytes : substr($bytes, $sent));
            if ($written === false) {
                throw new ConnectionLost('the web server has closed the connection');
            }
            if ($written === 0) {
                $this->select(false, $deadline->remaining());
                $deadline->check('the web server to take what is sent');
            }
        }
    }

    /**
     * Return some bytes, '' at the end of the connection.
     *
     * @throws ConnectionLost
     * @throws TimedOut
     */
    public function read(string $waitedFor, Deadline $deadline): string
    {
        while (true) {
            $deadline->check($waitedFor);
            $bytes = @fread($this->socket(), self::READ_BYTES);
            if ($bytes === false) {
                throw new ConnectionLost('the web server has broken the connection');
            }
            if ($bytes !== '' || feof($this->socket())) {
                return $bytes;
            }
            $this->select(true, $deadline->remaining());
        }
    }

    /** End the connection. Never throws; doing it twice is harmless. */
    public function close(): void
    {
        if ($this->socket !== null) {
            fclose($this->socket);
            $this->socket = null;
        }
    }

    /** Wait until the socket can be read from, or written to; a signal may end the wait early. */
    private function select(bool $forReading, float $waitS): void
    {
        $waitS = min($waitS, self::LONGEST_S);
        $loop = $waitS > 0.0 ? Loop::current() : null;
        if ($loop !== null) {
            $loop->awaitSocket($this->socket(), $forReading, $waitS);

            return;
        }
        $read = $forReading ? [$this->socket()] : null;
        $write = $forReading ? null : [$this->socket()];
        $except = null;
        $micros = (int) ceil($waitS * 1e6);
        @stream_select($read, $write, $except, intdiv($micros, 1_000_000), $micros % 1_000_000);
    }

    /** @return resource */
    private function socket()
    {
        return $this->socket ?? throw new ConnectionLost('the connection is closed');
    }
}
