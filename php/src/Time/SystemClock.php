<?php

declare(strict_types=1);

namespace Plasm\Time;

use Plasm\Libp2p\Io\Loop;

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
            Loop::sleep($seconds);
        }
    }
}
