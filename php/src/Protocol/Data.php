<?php

declare(strict_types=1);

namespace Plasm\Protocol;

/** Some bytes of a channel, beginning at an offset. */
final readonly class Data
{
    public function __construct(public Channel $channel, public int $offset, public string $bytes)
    {
    }
}
