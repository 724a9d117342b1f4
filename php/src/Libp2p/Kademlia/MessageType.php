<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

/** The types of this client's requests. */
enum MessageType: int
{
    case GetProviders = 3;
    case FindNode = 4;
}
