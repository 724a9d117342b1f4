<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The Noise handshake failed: truncated, tampered with, or signed wrongly. */
final class HandshakeFailed extends \RuntimeException implements Libp2pException
{
}
