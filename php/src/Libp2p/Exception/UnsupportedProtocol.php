<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The peer does not speak the protocol that was proposed. */
final class UnsupportedProtocol extends \RuntimeException implements Libp2pException
{
}
