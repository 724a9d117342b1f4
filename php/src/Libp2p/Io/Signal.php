<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Time\Deadline;

/** A recurring event that any number of tasks may wait for. A woken task checks its condition again. */
final class Signal
{
    /** @var array<int, Waiter> */
    private array $waiters = [];

    public function __construct(private readonly Loop $loop)
    {
    }

    /** @throws DeadlinePassed if it has not happened when the deadline passes */
    public function wait(Deadline $deadline, string $what): void
    {
        $waiter = $this->loop->waiter($deadline);
        $this->waiters[spl_object_id($waiter)] = $waiter;
        try {
            $this->loop->park($waiter);
        } finally {
            unset($this->waiters[spl_object_id($waiter)]);
        }
        if (!$waiter->woken) {
            throw new DeadlinePassed($what);
        }
    }

    public function notify(): void
    {
        foreach ($this->waiters as $waiter) {
            $this->loop->wake($waiter);
        }
    }
}
