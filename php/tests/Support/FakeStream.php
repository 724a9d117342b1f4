<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Exception\ConnectionLost;
use Plasm\PeerId;
use Plasm\Transport\StreamInterface;

/** A stream to a node in this process. Waiting for what never comes takes no time but the clock's. */
final class FakeStream implements StreamInterface
{
    public bool $isClosed = false;
    private string $incoming;

    public function __construct(private readonly FakeConversation $node, private readonly FakeClock $clock)
    {
        $this->incoming = $node->greet();
    }

    public function remotePeer(): ?PeerId
    {
        return $this->node->provenPeer();
    }

    public function write(string $bytes, float $idleS): void
    {
        if ($this->node->isOver()) {
            throw new ConnectionLost('the node is gone');
        }
        $this->incoming .= $this->node->hear($bytes);
    }

    public function read(int $maxBytes, float $waitS): ?string
    {
        if ($this->incoming === '') {
            if ($this->node->isOver()) {
                return '';
            }
            $this->clock->advance($waitS > 0 ? max($waitS, 1e-6) : 0.0);

            return null;
        }
        $bytes = substr($this->incoming, 0, $maxBytes);
        $this->incoming = substr($this->incoming, $maxBytes);

        return $bytes;
    }

    public function close(): void
    {
        $this->isClosed = true;
    }
}
