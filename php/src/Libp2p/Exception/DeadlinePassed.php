<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** A deadline passed. */
final class DeadlinePassed extends \RuntimeException implements Libp2pException
{
    /** @param string $waitedFor the event that did not happen in time, as in "the peer's handshake" */
    public function __construct(public readonly string $waitedFor)
    {
        parent::__construct("timed out waiting for $waitedFor");
    }
}
