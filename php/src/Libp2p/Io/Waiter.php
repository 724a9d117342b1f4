<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Time\Deadline;

/** One wait: the waiting fiber, its deadline, and whether it has ended. */
final class Waiter
{
    public bool $woken = false;

    /** @param Task|null $task null if it is the code that drives the loop */
    public function __construct(public readonly ?Task $task, public readonly Deadline $deadline)
    {
    }
}
