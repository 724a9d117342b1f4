<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Exception\ProtocolError;

/** A channel that this side receives: the next offset, and the offset up to which it has granted credit. */
final class ReceiveWindow
{
    /** @param int|null $size the channel's size; null if unknown yet */
    public function __construct(
        private readonly Channel $channel,
        private int $position,
        private int $credit,
        private readonly ?int $size = null,
    ) {
    }

    public function isComplete(): bool
    {
        return $this->size !== null && $this->position >= $this->size;
    }

    public function position(): int
    {
        return $this->position;
    }

    /** @throws ProtocolError on a gap, or more than there is credit for */
    public function take(Data $data): void
    {
        $label = $this->channel->label();
        $end = $data->offset + strlen($data->bytes);
        if ($data->offset !== $this->position) {
            throw new ProtocolError("$label at offset $data->offset, where $this->position comes next");
        }
        if ($end > $this->credit) {
            throw new ProtocolError("$end bytes of $label, with credit up to $this->credit");
        }
        if ($this->size !== null && $end > $this->size) {
            throw new ProtocolError("$end bytes of $label, of which there are $this->size");
        }
        $this->position = $end;
    }

    /** Return the credit to give, or null as long as more than half of the window is open. */
    public function grant(int $windowBytes): ?int
    {
        $upto = $this->position + $windowBytes;
        if ($windowBytes === 0 || $this->isComplete() || $upto - $this->credit < intdiv($windowBytes, 2)) {
            return null;
        }

        return $this->credit = $upto;
    }
}
