<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** A step that the node performs before it accepts the job. */
final readonly class Progress extends NodeMessage
{
    protected function __construct(public string $phase)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self($fields->matching('phase', self::NAME, 'a name'));
    }
}
