<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\PeerId;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The first message of a node. */
final readonly class Hello extends NodeMessage
{
    /**
     * @param PeerId|null $peer never null once the message was parsed
     * @param int|null $keepS for how many seconds the node keeps a stream open between conversations; null if it does not
     * @param list<string> $features the node's optional features: `files`, jobs with files
     */
    protected function __construct(
        public ?PeerId $peer,
        public string $agent,
        public ?int $keepS,
        public array $features = [],
    ) {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(
            $fields->peer('peer'),
            $fields->isThere('agent') ? $fields->matching('agent', self::WORDS . '{0,256}', 'a name') : '',
            $fields->has('keep_s') ? $fields->integer('keep_s', 1) : null,
            $fields->has('features') ? $fields->names('features', self::NAME) : [],
        );
    }
}
