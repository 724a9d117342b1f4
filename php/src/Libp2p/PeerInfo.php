<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\PeerId;

/** A peer and its reported addresses. */
final readonly class PeerInfo
{
    /** @param list<Multiaddr> $addresses each ending in the peer */
    public function __construct(public PeerId $peer, public array $addresses)
    {
    }
}
