<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

use Plasm\PeerId;

/** Somebody else's key answered at the address. */
final class WrongPeer extends \RuntimeException implements Libp2pException
{
    public function __construct(public readonly PeerId $expected, public readonly PeerId $actual)
    {
        parent::__construct("dialled $expected, but $actual answered");
    }
}
