<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** Something did not happen in time. The job, if there is one, is not cancelled by it. */
final class TimedOut extends TransportException
{
    /**
     * @param string $waitedFor the event that did not happen, such as `the daemon's offer`
     * @param string $limit which limit it was: `connect`, `idle`, `node` or `total`
     * @param bool $isLocal whether a daemon of this machine accepts connections and does not answer
     */
    public function __construct(
        public readonly string $waitedFor,
        public readonly float $seconds,
        public readonly string $limit,
        public readonly bool $isLocal = false,
    ) {
        parent::__construct(sprintf('waited %s s for %s (%s timeout)', round($seconds, 3), $waitedFor, $limit));
    }
}
