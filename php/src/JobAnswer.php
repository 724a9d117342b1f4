<?php

declare(strict_types=1);

namespace Plasm;

/** How a job ended, as its node tells. Nothing of it is verified yet. */
final readonly class JobAnswer
{
    /**
     * @param PeerId $ranBy the node that must have signed the receipt: the one that answers, or the one that a trusted
     * gateway names
     */
    public function __construct(public JobStatus $status, public string $envelopeJson, public PeerId $ranBy)
    {
    }
}
