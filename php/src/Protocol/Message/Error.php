<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** Why the node closes. */
final readonly class Error extends NodeMessage
{
    protected function __construct(public string $code, public string $message)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(
            $fields->matching('code', self::NAME, 'a name'),
            $fields->matching('message', self::WORDS . '{0,2000}', 'a sentence'),
        );
    }
}
