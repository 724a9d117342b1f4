<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p\Support;

use Plasm\Libp2p\Io\ChannelInterface;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Time\Deadline;

/** A relay that is the node behind it, too. It takes no more after so many bytes. */
final class CircuitEnd implements ChannelInterface
{
    private int $taken = 0;

    public function __construct(private readonly Stream $stream, private readonly int $stopAfter)
    {
    }

    public function read(int $max, Deadline $deadline): string
    {
        $bytes = $this->stream->read($max, $deadline);
        $this->taken += strlen($bytes);

        return $bytes;
    }

    public function tryRead(int $max): ?string
    {
        $bytes = $this->taken < $this->stopAfter ? $this->stream->tryRead($max) : null;
        $this->taken += strlen($bytes ?? '');

        return $bytes;
    }

    public function write(string $bytes, Deadline $deadline): void
    {
        $this->stream->write($bytes, $deadline);
    }

    public function drain(Deadline $deadline): void
    {
        $this->stream->waitForRoom($deadline);
    }

    public function post(string $bytes): void
    {
        $this->stream->tryWrite($bytes);
    }

    public function onReadable(?\Closure $callback): void
    {
        $this->stream->onReadable($callback);
    }

    public function close(): void
    {
        $this->stream->reset();
    }
}
