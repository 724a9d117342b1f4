<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** An address that is well formed, but that this client cannot or may not dial. */
final class UnsupportedAddress extends \InvalidArgumentException implements Libp2pException
{
}
