<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\PeerId;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The first message of a node. */
final readonly class Hello extends NodeMessage
{
    /** @param PeerId|null $peer never null once the message was parsed */
    protected function __construct(public ?PeerId $peer, public string $agent)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(
            $fields->peer('peer'),
            $fields->isThere('agent') ? $fields->matching('agent', self::WORDS . '{0,256}', 'a name') : '',
        );
    }
}
