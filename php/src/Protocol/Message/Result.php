<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\JobStatus;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The job has ended, and all its output has been sent. */
final readonly class Result extends NodeMessage
{
    protected function __construct(public JobStatus $status, public string $envelope)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(JobStatus::fromFields($fields->object('status')), $fields->matching('envelope', '(?s:.*)', 'a string'));
    }
}
