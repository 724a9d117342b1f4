<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;

/** A node that answered: its address, its capability record, and its latency. */
final readonly class Candidate
{
    /** How many seconds of latency one place in the queue counts as. */
    private const PLACE_S = 0.2;

    /** @param Multiaddr $address the one at which it answered */
    public function __construct(
        public PeerInfo $info,
        public Multiaddr $address,
        public CapabilityRecord $record,
        public float $latencyS,
    ) {
    }

    /** Return the cost by which nodes are ordered, in seconds: less is better. */
    public function cost(): float
    {
        $load = $this->record->load;

        return $this->latencyS + self::PLACE_S * (max(0, $load->running - $this->record->cpu + 1) + $load->waiting);
    }
}
