<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The node that answers is not the one that the handle names, or none of those that are pinned. */
final class PeerMismatch extends Unreachable
{
}
