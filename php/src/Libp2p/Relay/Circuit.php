<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Relay;

use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Io\Buffer;
use Plasm\Libp2p\Io\ChannelInterface;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\Io\Task;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Time\Deadline;

/**
 * A stream to a relay that became a channel to the target peer.
 *
 * The relay grants credit for forwarded bytes. Bytes without credit wait in a bounded queue.
 */
final class Circuit implements ChannelInterface
{
    /** Writers wait while the queue has more bytes than this. */
    private const HIGH_WATER_BYTES = 256 * 1024;

    private const MAX_QUEUED_BYTES = 1024 * 1024;

    /** A relay that gives no credit for so long is gone. */
    private const PATIENCE_S = 60.0;

    private readonly Buffer $queue;
    private readonly Signal $drained;
    private ?Task $writer = null;
    private bool $closed = false;

    /** @param \Closure(): void $released called once the circuit is closed */
    public function __construct(
        private readonly Stream $stream,
        private readonly Loop $loop,
        private readonly \Closure $released,
    ) {
        $this->queue = new Buffer();
        $this->drained = new Signal($loop);
    }

    public function __destruct()
    {
        $this->close();
    }

    public function read(int $max, Deadline $deadline): string
    {
        $this->check();

        return $this->stream->read($max, $deadline);
    }

    public function tryRead(int $max): ?string
    {
        $this->check();

        return $this->stream->tryRead($max);
    }

    public function write(string $bytes, Deadline $deadline): void
    {
        $this->drain($deadline);
        $this->post($bytes);
    }

    public function drain(Deadline $deadline): void
    {
        $this->check();
        while ($this->queue->length() > self::HIGH_WATER_BYTES) {
            $this->drained->wait($deadline, 'the relay to take what was sent');
            $this->check();
        }
    }

    public function post(string $bytes): void
    {
        $this->check();
        if ($this->queue->length() + strlen($bytes) > self::MAX_QUEUED_BYTES) {
            throw new ProtocolViolation('the peer asks for answers but does not read them');
        }
        $this->queue->append($bytes);
        $this->flush();
        if ($this->queue->length() > 0 && ($this->writer === null || $this->writer->done())) {
            $this->writer = $this->loop->spawn($this->work(...));
        }
    }

    public function onReadable(?\Closure $callback): void
    {
        $this->stream->onReadable($callback === null ? null : function () use ($callback): void {
            // It is called once for what came, and takes only part of that at a time.
            do {
                $before = $this->stream->available();
                $callback();
            } while ($this->stream->available() > 0 && $this->stream->available() < $before);
        });
    }

    public function close(): void
    {
        if ($this->closed) {
            return;
        }
        $this->closed = true;
        $this->stream->onReadable(null);
        $this->stream->reset();
        $this->writer?->cancel();
        $this->queue->clear();
        $this->drained->notify();
        ($this->released)();
    }

    /** Send queued bytes as the relay grants credit. */
    private function work(): void
    {
        try {
            while ($this->queue->length() > 0) {
                $this->stream->waitForRoom(Deadline::after(self::PATIENCE_S));
                $this->flush();
            }
        } catch (Libp2pException) {
            $this->stream->reset(); // which wakes the reader
            $this->close();
        }
    }

    /** @throws Libp2pException if the stream is gone */
    private function flush(): void
    {
        while ($this->queue->length() > 0) {
            $sent = $this->stream->tryWrite($this->queue->peek(self::HIGH_WATER_BYTES));
            if ($sent === 0) {
                break;
            }
            $this->queue->skip($sent);
        }
        if ($this->queue->length() <= self::HIGH_WATER_BYTES) {
            $this->drained->notify();
        }
    }

    private function check(): void
    {
        if ($this->closed) {
            throw new ConnectionClosed('the circuit is closed');
        }
    }
}
