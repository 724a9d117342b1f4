<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The other side went away, or reset the stream, before it had answered. */
final class ConnectionLost extends TransportException
{
}
