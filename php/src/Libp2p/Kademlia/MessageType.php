<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

/** What this client asks. */
enum MessageType: int
{
    case GetProviders = 3;
    case FindNode = 4;
}
