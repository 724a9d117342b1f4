<?php

declare(strict_types=1);

namespace Plasm\Time;

/** Monotonic time, and waiting. */
interface ClockInterface
{
    /** Return seconds since some moment; never less than before. */
    public function now(): float;

    public function sleep(float $seconds): void;
}
