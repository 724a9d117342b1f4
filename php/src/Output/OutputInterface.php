<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Protocol\Channel;

/** Takes a job's output as it comes. What it has taken is not verified until the receipt is. */
interface OutputInterface
{
    /** Return which attempt the bytes so far are of; 0 if there are none. */
    public function attempt(): int;

    /** Return how many bytes of a channel there are. */
    public function position(Channel $channel): int;

    /** Forget what there is: another attempt brings both outputs from their beginning, or they are lost. */
    public function begin(int $attempt): void;

    /** Take a channel's next bytes. */
    public function take(Channel $channel, string $bytes): void;
}
