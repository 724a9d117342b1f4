<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Time\Deadline;

/**
 * Waits for many sockets at once with `stream_select`, and runs tasks as fibers in between.
 *
 * It runs only while a caller waits: a call outside any task drives it until the awaited event has happened.
 * Callbacks of sockets must neither wait nor throw.
 */
final class Loop
{
    /** @var array<int, resource> */
    private array $readable = [];

    /** @var array<int, resource> */
    private array $writable = [];

    /** @var array<int, \Closure(): void> */
    private array $onReadable = [];

    /** @var array<int, \Closure(): void> */
    private array $onWritable = [];

    /** @var array<int, Waiter> */
    private array $parked = [];

    /** @var \SplQueue<Task> */
    private \SplQueue $ready;

    /**
     * Weak references: before PHP 8.3, an entry whose value leads to its key is never freed.
     *
     * @var \WeakMap<\Fiber<mixed, mixed, void, mixed>, \WeakReference<Task>>
     */
    private \WeakMap $tasks;

    /** @var \WeakMap<\Fiber<mixed, mixed, void, mixed>, \WeakReference<Loop>>|null of all loops of this process */
    private static ?\WeakMap $loops = null;

    public function __construct()
    {
        $this->ready = new \SplQueue();
        $this->tasks = new \WeakMap();
    }

    /** @param \Closure(): mixed $work starts at the loop's next turn */
    public function spawn(\Closure $work): Task
    {
        $task = new Task($this, $work);
        $this->tasks[$task->fiber] = \WeakReference::create($task);
        self::$loops ??= new \WeakMap();
        self::$loops[$task->fiber] = \WeakReference::create($this);
        $this->ready->enqueue($task);

        return $task;
    }

    /** Return the loop that runs the task that asks; null outside any task. */
    public static function current(): ?self
    {
        $fiber = \Fiber::getCurrent();

        return $fiber === null ? null : (self::$loops[$fiber] ?? null)?->get();
    }

    /** Sleep. In a task, other tasks run meanwhile. */
    public static function sleep(float $seconds): void
    {
        $loop = self::current();
        if ($loop === null) {
            usleep((int) ceil(max(0.0, $seconds) * 1e6));
        } else {
            $loop->park($loop->waiter(Deadline::after($seconds)));
        }
    }

    public function ready(Task $task): void
    {
        $this->ready->enqueue($task);
    }

    public function waiter(Deadline $deadline): Waiter
    {
        return new Waiter($this->currentTask(), $deadline);
    }

    /** Return when the waiter is woken or its deadline has passed. */
    public function park(Waiter $waiter): void
    {
        $id = spl_object_id($waiter);
        $this->parked[$id] = $waiter;
        try {
            while (!$waiter->woken && !$waiter->deadline->hasPassed()) {
                $waiter->task !== null ? \Fiber::suspend() : $this->turn();
            }
        } finally {
            unset($this->parked[$id]);
        }
    }

    public function wake(Waiter $waiter): void
    {
        if (!$waiter->woken && $waiter->task !== null) {
            $this->ready->enqueue($waiter->task);
        }
        $waiter->woken = true;
    }

    /**
     * Call back whenever there is something to read; null ends it.
     *
     * @param resource $socket
     * @param (\Closure(): void)|null $callback
     */
    public function onReadable($socket, ?\Closure $callback): void
    {
        $id = get_resource_id($socket);
        unset($this->readable[$id], $this->onReadable[$id]);
        if ($callback !== null) {
            $this->readable[$id] = $socket;
            $this->onReadable[$id] = $callback;
        }
    }

    /**
     * Call back whenever there is room to write; null ends it.
     *
     * @param resource $socket
     * @param (\Closure(): void)|null $callback
     */
    public function onWritable($socket, ?\Closure $callback): void
    {
        $id = get_resource_id($socket);
        unset($this->writable[$id], $this->onWritable[$id]);
        if ($callback !== null) {
            $this->writable[$id] = $socket;
            $this->onWritable[$id] = $callback;
        }
    }

    /** Handle all events that are ready, without waiting. */
    public function poll(): void
    {
        $task = $this->currentTask();
        if ($task === null) {
            $this->turn(0);

            return;
        }
        // The code that drives the loop waits for the socket, and then resumes this task.
        $this->ready->enqueue($task);
        \Fiber::suspend();
    }

    /**
     * Wait in a task until a socket can be read from, or written to. Return whether it can.
     *
     * @param resource $socket
     */
    public function awaitSocket($socket, bool $forReading, float $seconds): bool
    {
        $waiter = $this->waiter(Deadline::after($seconds));
        $watch = $forReading ? $this->onReadable(...) : $this->onWritable(...);
        $watch($socket, function () use ($waiter): void {
            $this->wake($waiter);
        });
        try {
            $this->park($waiter);
        } finally {
            $watch($socket, null);
        }

        return $waiter->woken;
    }

    /** Return this loop's task that asks; null outside of its tasks. */
    private function currentTask(): ?Task
    {
        $fiber = \Fiber::getCurrent();

        return $fiber === null ? null : ($this->tasks[$fiber] ?? null)?->get();
    }

    private function turn(?int $patience = null): void
    {
        for ($left = count($this->ready); $left > 0; $left--) {
            $this->ready->dequeue()->resume();
        }
        $this->select($patience ?? $this->patience());
        foreach ($this->parked as $waiter) {
            if ($waiter->task !== null && !$waiter->woken && $waiter->deadline->hasPassed()) {
                $this->ready->enqueue($waiter->task);
            }
        }
    }

    /** Return the microseconds until the next waiter must be resumed. */
    private function patience(): int
    {
        if (!$this->ready->isEmpty()) {
            return 0;
        }
        $patienceS = 3600.0;
        foreach ($this->parked as $waiter) {
            if ($waiter->woken) {
                return 0;
            }
            $patienceS = min($patienceS, $waiter->deadline->remaining());
        }

        return (int) ceil($patienceS * 1e6);
    }

    private function select(int $microseconds): void
    {
        $read = $this->readable;
        $write = $this->writable;
        if ($read === [] && $write === []) {
            usleep($microseconds);

            return;
        }
        $none = null;
        error_clear_last();
        if (@stream_select($read, $write, $none, 0, $microseconds) === false) {
            $this->checkFailure(error_get_last()['message'] ?? '');

            return;
        }
        foreach (array_keys($read) as $id) {
            if (isset($this->onReadable[$id])) {
                ($this->onReadable[$id])();
            }
        }
        foreach (array_keys($write) as $id) {
            if (isset($this->onWritable[$id])) {
                ($this->onWritable[$id])();
            }
        }
    }

    /** An interrupting signal is no failure; more sockets than `select` supports is one. */
    private function checkFailure(string $message): void
    {
        if (!str_contains($message, '[4]')) {
            throw new ConnectFailed("cannot wait for the open sockets: $message");
        }
    }
}
