<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The peer, or this side, closed the connection; what is unread is gone. */
final class ConnectionClosed extends \RuntimeException implements Libp2pException
{
}
