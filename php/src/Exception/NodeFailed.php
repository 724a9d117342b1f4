<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** A node claims an end of the job that the client has not asked for, or that cannot be yet. */
final class NodeFailed extends TransportException
{
}
