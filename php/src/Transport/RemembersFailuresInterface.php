<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\PeerId;

/** A transport that chooses nodes, and chooses last those that have failed. */
interface RemembersFailuresInterface
{
    /** @param bool $lied whether the node's receipt or its claims are false */
    public function failed(PeerId $peer, bool $lied): void;
}
