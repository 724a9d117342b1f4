<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Protocol\Channel;

/** Receives a job's output as it arrives. The output is not verified until the receipt is. */
interface OutputInterface
{
    /** Return the attempt that wrote the bytes so far; 0 if there are none. */
    public function attempt(): int;

    /** Return how many bytes of a channel there are. */
    public function position(Channel $channel): int;

    /** Discard the bytes so far: another attempt sends both outputs from their beginning. */
    public function begin(int $attempt): void;

    /** Take a channel's next bytes. */
    public function take(Channel $channel, string $bytes): void;
}
