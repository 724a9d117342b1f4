<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** Still here. */
final readonly class Heartbeat extends NodeMessage
{
    protected static function fromFields(Fields $fields): self
    {
        return new self();
    }
}
