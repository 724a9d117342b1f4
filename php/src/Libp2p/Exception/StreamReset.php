<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The stream was reset, by the peer or by this side. */
final class StreamReset extends \RuntimeException implements Libp2pException
{
}
