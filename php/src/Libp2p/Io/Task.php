<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\Cancelled;

/** Work that runs beside other work on one loop, as a fiber. Who started it sees to its end. */
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

    /** Go on with the work until it waits again. Only for the loop. */
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

    /** Have whatever the work waits for end in `Cancelled`, at the loop's next turn. */
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

    /** What the work threw, once it is done. */
    public function error(): ?\Throwable
    {
        return $this->error ?? ($this->done && $this->cancelled ? new Cancelled('cancelled') : null);
    }

    /** What the work returned, once it is done. */
    public function result(): mixed
    {
        return $this->result;
    }
}
