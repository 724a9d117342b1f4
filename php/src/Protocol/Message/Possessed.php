<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** Whether the module need not be sent. */
final readonly class Possessed extends NodeMessage
{
    protected function __construct(public bool $known)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self($fields->boolean('known'));
    }
}
