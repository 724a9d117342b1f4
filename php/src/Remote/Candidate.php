<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;

/** A node that answered: where, what it says of itself, and how long that took. */
final readonly class Candidate
{
    /** What a place in the queue counts, in seconds on the way. */
    private const PLACE_S = 0.2;

    /** @param Multiaddr $address the one at which it answered */
    public function __construct(
        public PeerInfo $info,
        public Multiaddr $address,
        public CapabilityRecord $record,
        public float $latencyS,
    ) {
    }

    /** Return what to choose by: the less the better. */
    public function cost(): float
    {
        $load = $this->record->load;

        return $this->latencyS + self::PLACE_S * (max(0, $load->running - $this->record->cpu + 1) + $load->waiting);
    }
}
