<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** A multiaddr that cannot be read, or not by this client. */
final class InvalidMultiaddr extends \InvalidArgumentException implements Libp2pException
{
}
