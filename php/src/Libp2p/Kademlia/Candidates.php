<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\PeerInfo;

/**
 * The peers that one lookup has heard of, in the order of their distance to the key.
 *
 * Source: Maymounkov and Mazières, "Kademlia", section 2.3; libp2p specification, kad-dht: distance is the
 * XOR of SHA-256 hashes.
 */
final class Candidates
{
    /** Beyond these, the farthest that nobody has asked yet are forgotten. */
    private const MAX_UNASKED = 256;

    private readonly string $target;

    /** @var array<string, PeerInfo> by distance, nearest first */
    private array $unasked = [];

    /** @var array<string, true> distances of all that were asked */
    private array $asked = [];

    /** @var list<string> distances of those that answered */
    private array $answered = [];

    /** @param int $breadth how many of the nearest peers are to have answered at the end */
    public function __construct(string $key, private readonly int $breadth)
    {
        $this->target = hash('sha256', $key, true);
    }

    public function add(PeerInfo $info): void
    {
        $distance = $this->distance($info);
        if (isset($this->asked[$distance]) || isset($this->unasked[$distance])) {
            return;
        }
        $this->unasked[$distance] = $info;
        ksort($this->unasked, SORT_STRING);
        if (count($this->unasked) > self::MAX_UNASKED) {
            array_pop($this->unasked);
        }
    }

    /** Take the nearest peer to ask next; null while there is none that could still matter. */
    public function next(): ?PeerInfo
    {
        $distance = array_key_first($this->unasked);
        if ($distance === null || $this->converged((string) $distance)) {
            return null;
        }
        $info = $this->unasked[$distance];
        unset($this->unasked[$distance]);
        $this->asked[$distance] = true;

        return $info;
    }

    /** Count a peer among those that answered. */
    public function answered(PeerInfo $info): void
    {
        $this->answered[] = $this->distance($info);
        sort($this->answered, SORT_STRING);
        $this->answered = array_slice($this->answered, 0, $this->breadth);
    }

    /** How many were asked. */
    public function asked(): int
    {
        return count($this->asked);
    }

    /** Whether enough peers have answered that are all nearer than that. */
    private function converged(string $distance): bool
    {
        return count($this->answered) === $this->breadth && $this->answered[$this->breadth - 1] < $distance;
    }

    private function distance(PeerInfo $info): string
    {
        return bin2hex($this->target ^ hash('sha256', $info->peer->multihash(), true));
    }
}
