<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The node's signed capability record. */
final readonly class Capabilities extends NodeMessage
{
    protected function __construct(public string $envelope)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self($fields->matching('envelope', '(?s:.*)', 'a string'));
    }
}
