<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Exception\InvalidArgument;

/** How many nodes are to run a job, and how far apart. */
final readonly class Plan
{
    public const MAX_EXECUTIONS = 16;

    /**
     * @param int $executions how many nodes run the job
     * @param bool $onNetworks whether each is to be on a network of its own: a /24 or /48, or a relay's
     * @param float $apartS each node but the first is asked a random time of at most so many seconds after the one before
     */
    public function __construct(public int $executions = 1, public bool $onNetworks = false, public float $apartS = 0.0)
    {
        if ($executions < 1 || $executions > self::MAX_EXECUTIONS || !($apartS >= 0.0 && $apartS <= 86_400.0)) {
            throw new InvalidArgument('a plan has 1 to ' . self::MAX_EXECUTIONS . ' executions, at most a day apart');
        }
    }

    /** Return the smallest plan that contains both. */
    public function with(self $other): self
    {
        return new self(
            max($this->executions, $other->executions),
            $this->onNetworks || $other->onNetworks,
            max($this->apartS, $other->apartS),
        );
    }
}
