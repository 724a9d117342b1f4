<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Time\Deadline;

/**
 * Tasks whose ends are awaited one by one.
 *
 * @template T
 */
final class TaskGroup
{
    /** @var array<string, Task> */
    private array $tasks = [];

    private readonly Signal $ended;

    public function __construct(private readonly Loop $loop)
    {
        $this->ended = new Signal($loop);
    }

    /** @param \Closure(): T $work */
    public function start(string $key, \Closure $work): void
    {
        $this->tasks[$key] = $this->loop->spawn(function () use ($work): mixed {
            try {
                return $work();
            } finally {
                $this->ended->notify();
            }
        });
    }

    public function count(): int
    {
        return count($this->tasks);
    }

    /**
     * Wait for the next task to end and take it out of the group.
     *
     * @return array{string, T|null, \Throwable|null} its key, and its return value or exception
     *
     * @throws DeadlinePassed
     */
    public function next(Deadline $deadline, string $what): array
    {
        while (true) {
            foreach ($this->tasks as $key => $task) {
                if ($task->done()) {
                    unset($this->tasks[$key]);

                    return [(string) $key, $task->result(), $task->error()];
                }
            }
            $this->ended->wait($deadline, $what);
        }
    }

    /**
     * Cancel the running tasks, and return the results that were not taken.
     *
     * @return list<T>
     */
    public function cancel(): array
    {
        $left = [];
        foreach ($this->tasks as $task) {
            $task->cancel();
            if ($task->done() && $task->error() === null) {
                $left[] = $task->result();
            }
        }
        $this->tasks = [];

        return $left;
    }
}
