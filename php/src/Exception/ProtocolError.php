<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The node violated the job protocol (docs/protocol.md), or reports that this client did. */
final class ProtocolError extends TransportException
{
}
