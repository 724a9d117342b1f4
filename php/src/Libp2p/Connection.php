<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Yamux\Session;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** A yamux session on a Noise channel. */
final class Connection implements ConnectionInterface
{
    public function __construct(
        private readonly Multiaddr $address,
        private readonly PeerId $peer,
        private readonly Session $session,
    ) {
    }

    public function remotePeer(): PeerId
    {
        return $this->peer;
    }

    public function remoteAddress(): Multiaddr
    {
        return $this->address;
    }

    public function openStream(string $protocol, Deadline $deadline, string $first = ''): StreamInterface
    {
        $stream = $this->session->openStream();
        try {
            Multistream::select($stream, $protocol, $deadline, $first);
        } catch (\Throwable $exception) {
            $stream->reset();
            throw $exception instanceof DeadlinePassed ? new DeadlinePassed("$this->peer to accept $protocol") : $exception;
        }

        return $stream;
    }

    public function ping(Deadline $deadline): float
    {
        return $this->session->ping($deadline);
    }

    public function isOpen(): bool
    {
        return $this->session->isOpen();
    }

    public function close(): void
    {
        $this->session->close();
    }
}
