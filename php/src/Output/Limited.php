<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Bounds;
use Plasm\Exception\ProtocolError;
use Plasm\Protocol\Channel;

/** Passes output on as long as there is no more of it than the job may write. Carries the job's bounds, if any. */
final readonly class Limited implements OutputInterface
{
    public function __construct(private OutputInterface $output, private ?int $maxBytes, public ?Bounds $bounds = null)
    {
    }

    public function attempt(): int
    {
        return $this->output->attempt();
    }

    public function position(Channel $channel): int
    {
        return $this->output->position($channel);
    }

    public function begin(int $attempt): void
    {
        $this->output->begin($attempt);
    }

    public function take(Channel $channel, string $bytes): void
    {
        $end = $this->position($channel) + strlen($bytes);
        if ($this->maxBytes !== null && $end > $this->maxBytes) {
            throw new ProtocolError("$end bytes of {$channel->label()}, of which the job may write $this->maxBytes");
        }
        $this->output->take($channel, $bytes);
    }
}
