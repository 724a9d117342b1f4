<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Bounds;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\ProtocolError;
use Plasm\Output\Spool;
use Plasm\Protocol\Message\Contents;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;

/** One output on its way from a node: how much of it is here, so that another connection can go on there. */
final class Fetching
{
    /** How long a node may serve nothing of a file; each byte that comes buys more (`Bounds::LEAST_BYTES_PER_S`). */
    public const FETCH_S = 60.0;

    /** A result may have 64 outputs. */
    private const MEMORY_BYTES = 128 << 10;

    private readonly Spool $bytes;
    private ?int $size = null;
    private readonly float $beganAt;

    /** @param ClockInterface|null $bounding null for a node of this user's own, which is not hurried */
    public function __construct(
        public readonly Product $product,
        private readonly FetchLimits $limits,
        private readonly ?ClockInterface $bounding = null,
    ) {
        $this->bytes = new Spool(self::MEMORY_BYTES);
        $this->beganAt = $bounding?->now() ?? 0.0;
    }

    public function taken(): int
    {
        return $this->bytes->size();
    }

    /** Return until when the node must serve more; null if that is not bounded. */
    public function deadline(): ?Deadline
    {
        if ($this->bounding === null) {
            return null;
        }
        $until = $this->beganAt + self::FETCH_S + $this->taken() / Bounds::LEAST_BYTES_PER_S;

        return new Deadline($this->bounding, max(0.0, $until - $this->bounding->now()), 'node');
    }

    /**
     * Record the node's size and listing of the output.
     *
     * @throws ProtocolError if that cannot be what the receipt states
     */
    public function begin(Contents $contents): void
    {
        $name = Listing::shown($this->product->path);
        if ($contents->kind !== $this->product->kind) {
            $said = $contents->kind === 'none' ? 'nothing' : "a $contents->kind";
            throw new ProtocolError("the node has $said where its receipt states a {$this->product->kind}: $name");
        }
        $most = $this->limits->fileBytes + ($contents->kind === 'tree' ? Pack::PREFIX_BYTES + Listing::MAX_BYTES : 0);
        if ($contents->size > $most) {
            throw new ProtocolError("the node has $contents->size bytes of $name, but the job may leave at most $most");
        }
        if ($this->size !== null && $this->size !== $contents->size) {
            throw new ProtocolError("$name has had another size before");
        }
        $this->size = $contents->size;
    }

    /** @throws ProtocolError if there are more of them than the node has said */
    public function take(string $bytes): void
    {
        if ($this->size !== null && $this->taken() + strlen($bytes) > $this->size) {
            $name = Listing::shown($this->product->path);
            throw new ProtocolError("the node sends more bytes than the $this->size of $name");
        }
        $this->bytes->append($bytes);
    }

    /**
     * Return the output, once all of it is here and compared with the receipt.
     *
     * @throws ProtocolError if it is something else
     */
    public function finish(): Output
    {
        $name = Listing::shown($this->product->path);
        if ($this->product->kind === 'file') {
            if (!hash_equals($this->product->sha256, $this->bytes->sha256())) {
                throw new ProtocolError("$name is not the file that the receipt states");
            }

            return new Output($this->product, $this->bytes);
        }
        try {
            $pack = Pack::parse($this->bytes, $this->product->sha256, $this->limits->entries, $this->limits->fileBytes);
        } catch (InvalidRecord $exception) {
            throw new ProtocolError("$name is not the tree that the receipt states: {$exception->getMessage()}", null, $exception);
        }
        foreach ($pack->entries as $entry) {
            if ($entry->kind === TreeEntry::LINK) {
                throw new ProtocolError("$name has an entry that no output has");
            }
        }

        return new Output($this->product, $pack);
    }
}
