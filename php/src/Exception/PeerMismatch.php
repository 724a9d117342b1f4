<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The answering node is not the one in the handle, or not a pinned one. */
final class PeerMismatch extends Unreachable
{
}
