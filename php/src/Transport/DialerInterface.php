<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\TimedOut;
use Plasm\Exception\Unreachable;
use Plasm\PeerId;

/** Opens streams of one protocol to nodes. */
interface DialerInterface
{
    /**
     * Open a stream of a protocol, such as `/phase/job/1.0.0`.
     *
     * @param PeerId|null $peer the node that must answer; null for whichever this dialer reaches
     *
     * @throws Unreachable
     * @throws TimedOut
     */
    public function dial(string $protocol, ?PeerId $peer, float $connectS): StreamInterface;
}
