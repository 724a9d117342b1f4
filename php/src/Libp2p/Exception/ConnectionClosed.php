<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The peer or this side closed the connection; unread bytes are lost. */
final class ConnectionClosed extends \RuntimeException implements Libp2pException
{
}
