<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The peer broke a protocol, or went over one of its limits. */
final class ProtocolViolation extends \UnexpectedValueException implements Libp2pException
{
}
