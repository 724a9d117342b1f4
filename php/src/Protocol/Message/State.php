<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\JobStatus;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The job's state has changed. */
final readonly class State extends NodeMessage
{
    protected function __construct(public JobStatus $status)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(JobStatus::fromFields($fields->object('status')));
    }
}
