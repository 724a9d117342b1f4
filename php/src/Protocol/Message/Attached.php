<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\JobStatus;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The answer to `attach`: the job exists, with its status. */
final readonly class Attached extends NodeMessage
{
    protected function __construct(public string $jobId, public JobStatus $status)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self($fields->digest('job_id'), JobStatus::fromFields($fields->object('status')));
    }
}
