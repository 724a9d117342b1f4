<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\Cancelled;

/** Concurrent work on the loop, as a fiber. Its starter must wait for its end or cancel it. */
final class Task
{
    private mixed $result = null;
    private ?\Throwable $error = null;
    private bool $cancelled = false;
    private bool $done = false;

    /** @var \Fiber<mixed, mixed, void, mixed> */
    public readonly \Fiber $fiber;

    /** @param \Closure(): mixed $work */
    public function __construct(private readonly Loop $loop, \Closure $work)
    {
        $this->fiber = new \Fiber(function () use ($work): void {
            try {
                $this->result = $work();
            } catch (\Throwable $error) {
                $this->error = $error;
            } finally {
                $this->done = true;
            }
        });
    }

    /** Resume the work until it waits again. Only for the loop. */
    public function resume(): void
    {
        if ($this->done) {
            return;
        }
        if (!$this->fiber->isStarted()) {
            $this->cancelled ? $this->done = true : $this->fiber->start();
        } elseif ($this->fiber->isSuspended()) {
            $this->cancelled ? $this->fiber->throw(new Cancelled('cancelled')) : $this->fiber->resume();
        }
    }

    /** End the task's present wait with `Cancelled`, at the loop's next turn. */
    public function cancel(): void
    {
        if (!$this->done && !$this->cancelled) {
            $this->cancelled = true;
            $this->loop->ready($this);
        }
    }

    public function done(): bool
    {
        return $this->done;
    }

    /** The exception of the finished work, if it threw one. */
    public function error(): ?\Throwable
    {
        return $this->error ?? ($this->done && $this->cancelled ? new Cancelled('cancelled') : null);
    }

    /** The return value of the finished work. */
    public function result(): mixed
    {
        return $this->result;
    }
}
