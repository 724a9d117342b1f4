<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/** A moment on the monotonic clock after which nobody waits any more. */
final readonly class Deadline
{
    private function __construct(private float $atS)
    {
    }

    public static function after(float $seconds): self
    {
        return new self(self::now() + $seconds);
    }

    /** Return the earlier of this deadline and one that many seconds from now. */
    public function within(float $seconds): self
    {
        return new self(min($this->atS, self::now() + $seconds));
    }

    /** Seconds left, 0.0 once it has passed. */
    public function remaining(): float
    {
        return max(0.0, $this->atS - self::now());
    }

    public function expired(): bool
    {
        return $this->atS <= self::now();
    }

    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}
