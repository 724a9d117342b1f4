<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\PeerInfo;

/**
 * The peers that one lookup has heard of, in the order of their distance to the key.
 *
 * Peers' reports about others are hearsay: at most two peers of one /24 or /48 are asked before those of other
 * networks, peers reported by one peer alone one at a time, and peers reported by a peer whose reports led nowhere
 * come last.
 *
 * Source: Maymounkov and Mazières, "Kademlia", section 2.3; libp2p specification, kad-dht: distance is the
 * XOR of SHA-256 hashes.
 */
final class Candidates
{
    /** Beyond this number, the farthest peers that were not asked yet are dropped. */
    private const MAX_UNASKED = 256;

    private const MAX_PER_GROUP = 2;
    private const MAX_FAULTS = 3;

    private readonly string $target;

    /** @var array<string, PeerInfo> by distance, nearest first */
    private array $unasked = [];

    /** @var array<string, Addresses> by distance: the reports of its addresses */
    private array $told = [];

    /** @var array<string, array<string, true>> by distance: the addresses that each of those was asked at that were asked */
    private array $asked = [];

    /** @var array<string, true> distances of those that are being asked */
    private array $running = [];

    /** @var list<string> distances of those that answered */
    private array $answered = [];

    /** @var array<string, int> how many of each group were asked */
    private array $groups = [];

    /** @var array<string, int> how many of the peers that each peer reported did not answer, minus those that did */
    private array $faults = [];

    /** @param int $breadth how many of the nearest peers are to have answered at the end */
    public function __construct(string $key, private readonly int $breadth)
    {
        $this->target = hash('sha256', $key, true);
    }

    /** @param PeerInfo|null $teller the peer that reported it; null for a bootstrap node */
    public function add(PeerInfo $info, ?PeerInfo $teller = null): void
    {
        $distance = $this->distance($info);
        $known = $this->told[$distance] ??= new Addresses();
        $known->add($teller === null ? '' : (HearsayScope::groups($teller)[0] ?? (string) $teller->peer), $info->addresses);
        $addresses = $known->all();
        if (isset($this->running[$distance]) || in_array($distance, $this->answered, true)) {
            return;
        }
        if (isset($this->asked[$distance]) && array_diff(array_map(strval(...), $addresses), array_keys($this->asked[$distance])) === []) {
            return;
        }
        $this->unasked[$distance] = new PeerInfo($info->peer, $addresses);
        ksort($this->unasked, SORT_STRING);
        if (count($this->unasked) > self::MAX_UNASKED) {
            $forgotten = array_key_last($this->unasked);
            unset($this->unasked[$forgotten], $this->told[$forgotten]);
        }
    }

    /** Take the nearest peer to ask next; null while there is none that could still matter. */
    public function next(): ?PeerInfo
    {
        $heldBack = null;
        foreach ($this->unasked as $distance => $info) {
            $distance = (string) $distance;
            if ($this->converged($distance)) {
                break;
            }
            if (!$this->isHeldBack($distance, $info)) {
                return $this->take($distance, $info);
            }
            $heldBack ??= $distance;
        }

        return $heldBack === null || $this->hasOthers() ? null : $this->take($heldBack, $this->unasked[$heldBack]);
    }

    /** Count a peer among those that answered. */
    public function answered(PeerInfo $info): void
    {
        $distance = $this->distance($info);
        unset($this->running[$distance], $this->unasked[$distance]);
        $this->judge($distance, -1);
        $this->answered[] = $distance;
        sort($this->answered, SORT_STRING);
        $this->answered = array_slice($this->answered, 0, $this->breadth);
    }

    /** Record that a peer did not answer. It may be asked again at addresses that other peers report. */
    public function failed(PeerInfo $info): void
    {
        $distance = $this->distance($info);
        unset($this->running[$distance]);
        $addresses = isset($this->told[$distance]) ? $this->told[$distance]->all() : [];
        if (array_diff(array_map(strval(...), $addresses), array_keys($this->asked[$distance] ?? [])) !== []) {
            $this->unasked[$distance] = new PeerInfo($info->peer, $addresses);
            ksort($this->unasked, SORT_STRING);

            return;
        }
        $this->judge($distance, 1);
    }

    /** How many were asked. */
    public function asked(): int
    {
        return count($this->asked);
    }

    private function take(string $distance, PeerInfo $info): PeerInfo
    {
        unset($this->unasked[$distance]);
        if (!isset($this->asked[$distance])) {
            foreach (HearsayScope::groups($info) as $group) {
                $this->groups[$group] = ($this->groups[$group] ?? 0) + 1;
            }
        }
        $this->asked[$distance] = ($this->asked[$distance] ?? []) + array_fill_keys(array_map(strval(...), $info->addresses), true);
        $this->running[$distance] = true;

        return $info;
    }

    /** Whether farther peers are asked before this peer. */
    private function isHeldBack(string $distance, PeerInfo $info): bool
    {
        foreach (HearsayScope::groups($info) as $group) {
            if (($this->groups[$group] ?? 0) >= self::MAX_PER_GROUP) {
                return true;
            }
        }
        $tellers = isset($this->told[$distance]) ? $this->told[$distance]->tellers() : [];
        if ($tellers === [] || in_array('', $tellers, true)) {
            return false;
        }
        foreach ($tellers as $teller) {
            if (($this->faults[$teller] ?? 0) < self::MAX_FAULTS && !$this->isRunningOn($teller)) {
                return false;
            }
        }

        return true;
    }

    /** Whether a peer is being asked that was reported by this peer only. */
    private function isRunningOn(string $teller): bool
    {
        foreach (array_keys($this->running) as $distance) {
            if (isset($this->told[$distance]) && $this->told[$distance]->tellers() === [$teller]) {
                return true;
            }
        }

        return false;
    }

    /** Whether the peers being asked may still report other peers than one that is held back. */
    private function hasOthers(): bool
    {
        foreach (array_keys($this->running) as $distance) {
            if (!isset($this->told[$distance]) || in_array('', $this->told[$distance]->tellers(), true)) {
                return true;
            }
        }

        return false;
    }

    private function judge(string $distance, int $fault): void
    {
        foreach (isset($this->told[$distance]) ? $this->told[$distance]->tellers() : [] as $teller) {
            $this->faults[$teller] = max(-self::MAX_FAULTS, ($this->faults[$teller] ?? 0) + $fault);
        }
    }

    /** Whether enough peers that are nearer than this distance have answered. */
    private function converged(string $distance): bool
    {
        return count($this->answered) === $this->breadth && $this->answered[$this->breadth - 1] < $distance;
    }

    private function distance(PeerInfo $info): string
    {
        return bin2hex($this->target ^ hash('sha256', $info->peer->multihash(), true));
    }
}
