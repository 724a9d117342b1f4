<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** Written to a stream, or to a connection, after closing it. */
final class StreamClosed extends \LogicException implements Libp2pException
{
}
