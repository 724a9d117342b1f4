<?php

declare(strict_types=1);

namespace Plasm\Time;

/** The machine's monotonic clock. */
final class SystemClock implements ClockInterface
{
    public function now(): float
    {
        return hrtime(true) / 1e9;
    }

    public function sleep(float $seconds): void
    {
        if ($seconds > 0) {
            usleep((int) ceil($seconds * 1e6));
        }
    }
}
