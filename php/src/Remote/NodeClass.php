<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Exception\InvalidArgument;
use Plasm\PeerId;

/** A class of nodes to search for, such as `wasi/preview1`. It is divided into several keys of the DHT. */
final readonly class NodeClass
{
    public const SHARDS = 16;

    /** The class of every node that runs jobs. */
    public const ANY_NODE = 'wasi/preview1';

    public function __construct(public string $name)
    {
        if (preg_match('/\A[!-~]{1,128}\z/', $name) !== 1) {
            throw new InvalidArgument('the class of nodes is a name such as ' . self::ANY_NODE);
        }
    }

    /** Return the class under which a node lists itself by PeerId, so that clients find its addresses. */
    public static function ofPeer(PeerId $peer): self
    {
        return new self("peer/$peer");
    }

    /** Return the key of one shard: a SHA-256 multihash. */
    public function key(int $shard): string
    {
        return "\x12\x20" . hash('sha256', "phase/cap/v1/$this->name/$shard", true);
    }

    /** @return list<string> the keys of all shards, in random order */
    public function shuffledKeys(): array
    {
        $shards = range(0, self::SHARDS - 1);
        $shards = (new \Random\Randomizer())->shuffleArray($shards);

        return array_map($this->key(...), $shards);
    }
}
