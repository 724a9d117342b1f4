<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Time\Deadline;

/** A TCP connection that never blocks. */
final class Socket implements ChannelInterface
{
    /** Writers wait while the queue has more bytes than this. */
    private const HIGH_WATER_BYTES = 256 * 1024;

    /** A peer that lets more than this pile up reads nothing and asks for much. */
    private const MAX_QUEUED_BYTES = 1024 * 1024;

    private readonly Buffer $queue;
    private readonly Signal $arrived;
    private readonly Signal $drained;
    private ?\Closure $callback = null;

    /** @var resource|null null once closed */
    private $socket;

    /** Why sending failed, which ended the connection. */
    private ?ConnectionClosed $failure = null;

    /** @param resource $socket a connected stream socket */
    public function __construct(private readonly Loop $loop, $socket)
    {
        stream_set_blocking($socket, false);
        stream_set_read_buffer($socket, 0);
        $this->socket = $socket;
        $this->queue = new Buffer();
        $this->arrived = new Signal($loop);
        $this->drained = new Signal($loop);
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * @param string $ip an IPv4 or IPv6 address
     *
     * @throws ConnectFailed
     * @throws DeadlinePassed
     */
    public static function connect(Loop $loop, string $ip, int $port, Deadline $deadline): self
    {
        $host = str_contains($ip, ':') ? "[$ip]" : $ip;
        $socket = @stream_socket_client(
            "tcp://$host:$port",
            $code,
            $message,
            flags: STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT,
            context: stream_context_create(['socket' => ['tcp_nodelay' => true]]),
        );
        if ($socket === false) {
            throw new ConnectFailed(sprintf('cannot connect to %s port %d: %s', $ip, $port, strtolower($message)));
        }
        $connected = new Signal($loop);
        $loop->onWritable($socket, $connected->notify(...));
        try {
            $connected->wait($deadline, "a connection to $ip port $port");
        } catch (\Throwable $exception) {
            $loop->onWritable($socket, null);
            fclose($socket);
            throw $exception;
        }
        $loop->onWritable($socket, null);
        if (stream_socket_get_name($socket, true) === false) {
            fclose($socket);
            throw new ConnectFailed("cannot connect to $ip port $port: refused or unreachable");
        }

        return new self($loop, $socket);
    }

    public function read(int $max, Deadline $deadline): string
    {
        while (($bytes = $this->tryRead($max)) === null) {
            $this->watch($this->arrived->notify(...));
            try {
                $this->arrived->wait($deadline, 'bytes from the peer');
            } finally {
                $this->watch($this->callback);
            }
        }

        return $bytes;
    }

    public function tryRead(int $max): ?string
    {
        $bytes = @fread($this->open(), max(1, $max));
        if ($bytes === false || $bytes === '') {
            return feof($this->open()) ? '' : null;
        }

        return $bytes;
    }

    public function write(string $bytes, Deadline $deadline): void
    {
        $this->drain($deadline);
        $this->enqueue($bytes);
    }

    public function drain(Deadline $deadline): void
    {
        while ($this->queue->length() > self::HIGH_WATER_BYTES) {
            $this->drained->wait($deadline, 'the peer to take what was sent');
            $this->open();
        }
    }

    public function post(string $bytes): void
    {
        if ($this->queue->length() + strlen($bytes) > self::MAX_QUEUED_BYTES) {
            throw new ProtocolViolation('the peer asks for answers but does not read them');
        }
        $this->enqueue($bytes);
    }

    public function onReadable(?\Closure $callback): void
    {
        $this->callback = $callback;
        if ($this->socket !== null) {
            $this->watch($callback);
        }
    }

    public function close(): void
    {
        if ($this->socket === null) {
            return;
        }
        $this->loop->onReadable($this->socket, null);
        $this->loop->onWritable($this->socket, null);
        fclose($this->socket);
        $this->socket = null;
        $this->callback = null;
        $this->queue->clear();
        $this->arrived->notify();
        $this->drained->notify();
    }

    /** Queue bytes; if others are queued already, the loop sends them together. */
    private function enqueue(string $bytes): void
    {
        $this->open();
        $idle = $this->queue->length() === 0;
        $this->queue->append($bytes);
        if ($idle) {
            $this->flush();
        }
    }

    private function flush(): void
    {
        $socket = $this->open();
        error_clear_last();
        $sent = @fwrite($socket, $this->queue->peek(self::HIGH_WATER_BYTES));
        if ($sent === false) {
            $this->failure = self::failed(error_get_last()['message'] ?? '');
            $this->close();
            throw $this->failure;
        }
        $this->queue->skip($sent);
        if ($this->queue->length() <= self::HIGH_WATER_BYTES) {
            $this->drained->notify();
        }
        $this->loop->onWritable($socket, $this->queue->length() === 0 ? null : function (): void {
            $callback = $this->callback;
            try {
                $this->flush();
            } catch (ConnectionClosed) {
                // Closing has woken those who wait to read or to write, and they find the cause. A callback is only
                // called for bytes that arrive, of which there are none any more.
                if ($callback !== null) {
                    $callback();
                }
            }
        });
    }

    /** Return the error of a send that failed. `$message`: PHP's, as in "… failed with errno=32 Broken pipe". */
    private static function failed(string $message): ConnectionClosed
    {
        $reason = preg_match('/ errno=\d+ (.+)$/D', $message, $found) === 1 ? strtolower($found[1]) : null;

        return new ConnectionClosed(
            $reason === null ? 'the peer closed the connection' : "the connection ended while bytes were sent: $reason",
        );
    }

    private function watch(?\Closure $callback): void
    {
        if ($this->socket !== null) {
            $this->loop->onReadable($this->socket, $callback);
        }
    }

    /** @return resource */
    private function open()
    {
        return $this->socket ?? throw $this->failure ?? new ConnectionClosed('the connection is closed');
    }
}
