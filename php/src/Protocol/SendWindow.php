<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Exception\ProtocolError;

/** A channel that this side sends: the next offset, and the offset up to which the other side granted credit. */
final class SendWindow
{
    public function __construct(
        public readonly Channel $channel,
        public readonly int $size,
        private int $position,
        private int $credit,
    ) {
    }

    public function position(): int
    {
        return $this->position;
    }

    /** Return the offset up to which the other side granted credit. */
    public function upto(): int
    {
        return $this->credit;
    }

    public function isComplete(): bool
    {
        return $this->position === $this->size;
    }

    /** Return how many bytes may be sent now, in one frame. */
    public function room(): int
    {
        return max(0, min(Frame::MAX_DATA_BYTES, $this->credit - $this->position, $this->size - $this->position));
    }

    /** @throws ProtocolError if the new credit is less than there was */
    public function grow(int $upto): void
    {
        if ($upto < $this->credit) {
            throw new ProtocolError("credit for {$this->channel->label()} fell from $this->credit to $upto");
        }
        $this->credit = $upto;
    }

    /** Return a frame with the channel's next bytes, no more than there is room for. */
    public function send(string $bytes): string
    {
        if (strlen($bytes) > $this->room()) {
            throw new \LengthException(strlen($bytes) . " bytes, with room for {$this->room()}");
        }
        $frame = Frame::data($this->channel, $this->position, $bytes);
        $this->position += strlen($bytes);

        return $frame;
    }

    /** Take the channel as sent, since the other side has its bytes. */
    public function complete(): void
    {
        $this->position = $this->size;
    }
}
