<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Protocol\Channel;

/** Stores a job's output in temporary files, or in memory while it is small. */
final class Collected implements OutputInterface
{
    private int $attempt = 0;

    /** @var array<int, Spool> */
    private array $spools;

    public function __construct()
    {
        $this->spools = [Channel::Stdout->value => new Spool(), Channel::Stderr->value => new Spool()];
    }

    public function attempt(): int
    {
        return $this->attempt;
    }

    public function position(Channel $channel): int
    {
        return $this->spool($channel)->size();
    }

    public function begin(int $attempt): void
    {
        $this->attempt = $attempt;
        foreach ($this->spools as $spool) {
            $spool->clear();
        }
    }

    public function take(Channel $channel, string $bytes): void
    {
        $this->spool($channel)->append($bytes);
    }

    public function spool(Channel $channel): Spool
    {
        return $this->spools[$channel->value];
    }
}
