<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\Kademlia\Addresses;
use Plasm\Libp2p\PeerInfo;

/** The nodes that one search has found, with bounded shares for each shard of the class and each network. */
final class Finds
{
    /** How many nodes of one /24 or /48 are taken: keys are free, addresses are not. */
    private const MAX_PER_GROUP = 2;

    /** How many that were held back are kept of each shard. */
    private const MAX_WAITING = 64;

    /** @var array<string, Addresses> by PeerId: the reports of each shard */
    private array $addresses = [];

    /** @var array<string, array<string, true>> by PeerId: the addresses that were passed on */
    private array $told = [];

    /** @var array<string, int> */
    private array $groups = [];

    /** @var array<string, array<string, PeerInfo>> by shard and PeerId */
    private array $waiting = [];

    /** @param \Closure(PeerInfo): void $found */
    public function __construct(
        private readonly AddressPolicy $policy,
        private readonly int $limit,
        private readonly \Closure $found,
    ) {
    }

    public function isFull(): bool
    {
        return count($this->told) >= $this->limit;
    }

    /** Add a node that was reported under the key of a shard. */
    public function take(PeerInfo $info, string $shard): void
    {
        $name = (string) $info->peer;
        $usable = $this->policy->usable($info->addresses);
        if ($usable === [] || (!isset($this->told[$name]) && count($this->waiting[$shard] ?? []) >= self::MAX_WAITING)) {
            return;
        }
        $addresses = $this->addresses[$name] ??= new Addresses();
        $addresses->add(bin2hex($shard), $usable);
        $all = new PeerInfo($info->peer, $addresses->all());
        if (isset($this->told[$name])) {
            if (array_diff_key(self::texts($all), $this->told[$name]) !== []) {
                $this->tell($all);
            }
        } elseif (count($this->told) < $this->limit - intdiv($this->limit, 4)) {
            $this->tellNew($all);
        } else {
            $this->waiting[$shard][$name] = $all;
        }
    }

    /** Pass on the nodes held back: for each shard in turn, the node that most other shards also report. */
    public function takeRest(): void
    {
        foreach ($this->waiting as $shard => $infos) {
            uasort($infos, fn (PeerInfo $a, PeerInfo $b): int => $this->support($b) <=> $this->support($a));
            $this->waiting[$shard] = $infos;
        }
        while (($this->waiting = array_filter($this->waiting)) !== [] && !$this->isFull()) {
            foreach (array_keys($this->waiting) as $shard) {
                $info = array_shift($this->waiting[$shard]);
                if ($info !== null && !isset($this->told[(string) $info->peer]) && !$this->isFull()) {
                    $this->tellNew($info);
                }
            }
        }
    }

    private function tellNew(PeerInfo $info): void
    {
        // Of all its addresses: the first may be made up, to be counted elsewhere.
        $groups = HearsayScope::groups($info);
        foreach ($groups as $group) {
            if (($this->groups[$group] ?? 0) >= self::MAX_PER_GROUP) {
                return;
            }
        }
        foreach ($groups as $group) {
            $this->groups[$group] = ($this->groups[$group] ?? 0) + 1;
        }
        $this->tell($info);
    }

    private function tell(PeerInfo $info): void
    {
        $this->told[(string) $info->peer] = ($this->told[(string) $info->peer] ?? []) + self::texts($info);
        ($this->found)($info);
    }

    /** @return array<string, true> */
    private static function texts(PeerInfo $info): array
    {
        return array_fill_keys(array_map(strval(...), $info->addresses), true);
    }

    private function support(PeerInfo $info): int
    {
        return count(($this->addresses[(string) $info->peer] ?? new Addresses())->tellers());
    }
}
