<?php

declare(strict_types=1);

namespace Plasm;

/** How a job ended, as its node tells. Nothing of it is verified yet. */
final readonly class JobAnswer
{
    public function __construct(public JobStatus $status, public string $envelopeJson)
    {
    }
}
