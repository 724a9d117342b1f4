<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The kind and size of an output that the client fetches. */
final readonly class Contents extends NodeMessage
{
    /**
     * @param string $kind `file`, `tree`, or `none` for an output that the job did not leave
     * @param int $size the bytes of the file, or of the tree's pack
     */
    public function __construct(public string $jobId, public string $kind, public int $size)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(
            $fields->digest('job_id'),
            $fields->oneOf('kind', ['file', 'tree', 'none']),
            $fields->integer('size', 0),
        );
    }
}
