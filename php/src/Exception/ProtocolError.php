<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The other side does not keep to docs/protocol.md, or says that this client does not. */
final class ProtocolError extends TransportException
{
}
