<?php

declare(strict_types=1);

namespace Plasm\Time;

use Plasm\Exception\TimedOut;

/** A moment at which waiting ends. */
final readonly class Deadline
{
    private float $at;

    /**
     * @param float|null $seconds from now; null for never
     * @param string $limit the name of the limit: `connect`, `idle` or `total`
     */
    public function __construct(private ClockInterface $clock, public ?float $seconds, public string $limit = 'total')
    {
        $this->at = $seconds === null ? INF : $clock->now() + $seconds;
    }

    /** Return the moment that many seconds from now on this machine's clock. */
    public static function after(float $seconds): self
    {
        return new self(new SystemClock(), $seconds);
    }

    /** Return the earlier of this deadline and one that many seconds from now. */
    public function within(float $seconds): self
    {
        return $this->orSooner(new self($this->clock, $seconds, $this->limit));
    }

    /** Return the seconds that are left, 0 at least. */
    public function remaining(): float
    {
        return max(0.0, $this->at - $this->clock->now());
    }

    public function hasPassed(): bool
    {
        return $this->remaining() <= 0.0;
    }

    /** Return the earlier of the two. */
    public function orSooner(self $other): self
    {
        return $other->at < $this->at ? $other : $this;
    }

    /** @throws TimedOut if it has passed */
    public function check(string $waitedFor): void
    {
        if ($this->hasPassed()) {
            throw new TimedOut($waitedFor, $this->seconds ?? INF, $this->limit);
        }
    }
}
