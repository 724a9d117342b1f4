<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\TimedOut;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\StreamInterface as MultiplexedStream;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** A stream to a peer that has proved its identity. */
final class Libp2pStream implements StreamInterface
{
    private const LONGEST_S = 3600.0;

    public function __construct(
        private readonly PeerId $peer,
        private readonly MultiplexedStream $stream,
        private readonly Loop $loop,
    ) {
    }

    public function remotePeer(): PeerId
    {
        return $this->peer;
    }

    public function write(string $bytes, float $idleS): void
    {
        try {
            $this->stream->write($bytes, Deadline::after(min($idleS, self::LONGEST_S)));
        } catch (DeadlinePassed) {
            throw new TimedOut('the node to take what is sent', $idleS, 'idle');
        } catch (Libp2pException $exception) {
            throw self::lost($exception);
        }
    }

    public function read(int $maxBytes, float $waitS): ?string
    {
        try {
            if ($waitS <= 0.0) {
                $this->loop->poll();
            }

            return $this->stream->read(max(1, $maxBytes), Deadline::after(min($waitS, self::LONGEST_S)));
        } catch (DeadlinePassed) {
            return null;
        } catch (Libp2pException $exception) {
            throw self::lost($exception);
        }
    }

    public function close(): void
    {
        $this->stream->close();
        // This side's last message may still be queued.
        $this->loop->poll();
    }

    private static function lost(Libp2pException $exception): ConnectionLost
    {
        return new ConnectionLost("the connection to the node broke: {$exception->getMessage()}", null, $exception);
    }
}
