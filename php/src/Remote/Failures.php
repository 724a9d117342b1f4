<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\PeerId;
use Plasm\Time\ClockInterface;

/** Recent failures of nodes and of their /24 or /48: sums that halve every five minutes. */
final class Failures
{
    private const HALF_LIFE_S = 300.0;
    private const LOST = 1.0;
    private const LIED = 8.0;
    private const SHARE_OF_GROUP = 0.25;
    private const FORGIVEN = 0.25;
    private const MAX_KEPT = 4096;

    /** @var array<string, array{float, float}> by PeerId or group: the weight, and when it was that */
    private array $failures = [];

    public function __construct(private readonly ClockInterface $clock)
    {
    }

    public function add(PeerId $peer, ?string $group, bool $lied): void
    {
        $weight = $lied ? self::LIED : self::LOST;
        $this->blame((string) $peer, $weight);
        if ($group !== null) {
            $this->blame("group $group", $weight * self::SHARE_OF_GROUP);
        }
    }

    /** Return how much a node has failed, 0 if nothing counts any more. */
    public function of(PeerId $peer, ?string $group): float
    {
        return $this->weight((string) $peer) + ($group === null ? 0.0 : $this->weight("group $group"));
    }

    /** Return how much a node itself has failed. */
    public function ofNode(PeerId $peer): float
    {
        return $this->weight((string) $peer);
    }

    private function blame(string $whom, float $weight): void
    {
        $sum = min(1e6, $this->weight($whom) + $weight);
        unset($this->failures[$whom]);
        $this->failures[$whom] = [$sum, $this->clock->now()];
        if (count($this->failures) > self::MAX_KEPT) {
            unset($this->failures[array_key_first($this->failures)]);
        }
    }

    private function weight(string $whom): float
    {
        [$weight, $at] = $this->failures[$whom] ?? [0.0, 0.0];
        $now = $weight * 0.5 ** (($this->clock->now() - $at) / self::HALF_LIFE_S);

        return $now >= self::FORGIVEN ? $now : 0.0;
    }
}
