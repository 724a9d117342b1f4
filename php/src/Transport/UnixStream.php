<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Libp2p\Io\Loop;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** A connection to a daemon's Unix socket. The socket's permissions decide which user may serve it. */
final class UnixStream implements StreamInterface
{
    private const MAX_LINE_BYTES = 64;
    private const EAGAIN = 11;
    private const EACCES = 13;
    private const BACKLOG_PAUSE_S = 0.1;
    private const LONGEST_S = 3600.0;

    private string $ahead = '';

    /** @param resource|null $socket */
    private function __construct(private $socket)
    {
    }

    /**
     * Connect, and agree on a protocol (docs/protocol.md, "Carriers").
     *
     * @throws TransportException
     */
    public static function connect(string $path, string $protocol, Deadline $deadline): self
    {
        $socket = self::connected($path, $deadline);
        $seconds = min(self::LONGEST_S, $deadline->remaining());
        $self = self::ofSocket($socket);
        try {
            $self->write("$protocol\n", $seconds);
            $answer = $self->line($deadline);
        } catch (ConnectionLost $exception) {
            $self->close();
            throw new Unreachable("what listens on $path is no Plasm daemon", null, $exception);
        }
        if ($answer !== $protocol) {
            $self->close();
            throw new Unreachable("what listens on $path does not speak $protocol");
        }

        return $self;
    }

    /**
     * Wrap a connected socket, on which the protocol is agreed already.
     *
     * @param resource $socket
     */
    public static function ofSocket($socket): self
    {
        stream_set_blocking($socket, false);
        // Buffering would hide bytes from select.
        stream_set_read_buffer($socket, 0);
        stream_set_write_buffer($socket, 0);

        return new self($socket);
    }

    public function remotePeer(): ?PeerId
    {
        return null;
    }

    public function write(string $bytes, float $idleS): void
    {
        $length = strlen($bytes);
        for ($sent = 0; $sent < $length; $sent += $written) {
            $written = @fwrite($this->socket(), $sent === 0 ? $bytes : substr($bytes, $sent));
            if ($written === false) {
                throw new ConnectionLost('the daemon has closed the connection');
            }
            if ($written === 0 && !$this->select(false, $idleS)) {
                throw new TimedOut('the daemon to take what is sent', $idleS, 'idle');
            }
        }
    }

    public function read(int $maxBytes, float $waitS): ?string
    {
        if ($this->ahead !== '') {
            $bytes = substr($this->ahead, 0, $maxBytes);
            $this->ahead = substr($this->ahead, $maxBytes);

            return $bytes;
        }
        if (!$this->select(true, $waitS)) {
            return null;
        }
        $bytes = @fread($this->socket(), max(1, $maxBytes));
        if ($bytes === false) {
            throw new ConnectionLost('the daemon has broken the connection');
        }

        return $bytes === '' && !feof($this->socket()) ? null : $bytes;
    }

    public function close(): void
    {
        if ($this->socket !== null) {
            fclose($this->socket);
            $this->socket = null;
        }
    }

    /**
     * Connect, and wait as long as the backlog is full: connect() fails with EAGAIN then, unix(7).
     *
     * @return resource
     */
    private static function connected(string $path, Deadline $deadline)
    {
        while (true) {
            $deadline->check("a connection to $path");
            $socket = @stream_socket_client("unix://$path", $code, $message, min(self::LONGEST_S, $deadline->remaining()));
            if ($socket !== false) {
                return $socket;
            }
            if ($code !== self::EAGAIN) {
                throw match ($code) {
                    self::EACCES => new Unreachable("the socket $path is not open to this user", self::howToBeLetIn($path)),
                    default => new Unreachable(
                        "no daemon answers on $path: " . ($message ?: "error $code"),
                        StartHint::of([dirname($path)]),
                    ),
                };
            }
            Loop::sleep(self::BACKLOG_PAUSE_S);
        }
    }

    /** Return the hint for a user without permission for the socket, in the words of the Python client. */
    private static function howToBeLetIn(string $path): string
    {
        foreach ([$path, dirname($path)] as $place) {
            $id = @filegroup($place);
            $group = is_int($id) && function_exists('posix_getgrgid') ? posix_getgrgid($id) : false;
            if ($group !== false && $group['name'] !== 'root') {
                return "its users are in the group {$group['name']}: sudo usermod -a -G {$group['name']} \$USER, and log in again";
            }
        }

        return 'ask the administrator of the daemon for access (transport.local.group)';
    }

    /** Return the line that the stream begins with. */
    private function line(Deadline $deadline): string
    {
        $line = '';
        while (!str_contains($line, "\n")) {
            $bytes = $this->read(4096, min(self::LONGEST_S, $deadline->remaining()));
            if ($bytes === null) {
                $deadline->check('the daemon to agree on the protocol');
                continue;
            }
            $line .= $bytes;
            if ($bytes === '' || strcspn($line, "\n") > self::MAX_LINE_BYTES) {
                throw new ConnectionLost('the other side names no protocol');
            }
        }
        [$line, $this->ahead] = explode("\n", $line, 2);

        return $line;
    }

    /** Wait until the socket can be read from, or written to; a signal may end the wait early. */
    private function select(bool $forReading, float $waitS): bool
    {
        $waitS = max(0.0, min($waitS, self::LONGEST_S));
        $loop = $waitS > 0.0 ? Loop::current() : null;
        if ($loop !== null) {
            return $loop->awaitSocket($this->socket(), $forReading, $waitS);
        }
        $read = $forReading ? [$this->socket()] : null;
        $write = $forReading ? null : [$this->socket()];
        $except = null;
        $micros = (int) ceil($waitS * 1e6);
        $ready = @stream_select($read, $write, $except, intdiv($micros, 1_000_000), $micros % 1_000_000);

        return $ready !== false && $ready > 0;
    }

    /** @return resource */
    private function socket()
    {
        return $this->socket ?? throw new ConnectionLost('the connection is closed');
    }
}
