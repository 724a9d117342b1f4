<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Time\ClockInterface;

/** Time that passes only when somebody waits. */
final class FakeClock implements ClockInterface
{
    /** @var list<float> */
    public array $slept = [];

    private float $now = 1000.0;

    public function now(): float
    {
        return $this->now;
    }

    public function sleep(float $seconds): void
    {
        $this->slept[] = $seconds;
        $this->now += $seconds;
    }

    public function advance(float $seconds): void
    {
        $this->now += $seconds;
    }
}
