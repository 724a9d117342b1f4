<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** The node refuses the request, with a reason. */
final readonly class Refused extends NodeMessage
{
    protected function __construct(
        public string $reason,
        public string $message,
        public ?string $hint,
        public ?int $retryAfterS,
    ) {
    }

    protected static function fromFields(Fields $fields): self
    {
        $sentence = self::WORDS . '{0,2000}';

        return new self(
            $fields->matching('reason', self::NAME, 'a name'),
            $fields->matching('message', $sentence, 'a sentence'),
            $fields->has('hint') ? $fields->matching('hint', $sentence, 'a sentence') : null,
            $fields->has('retry_after_s') ? $fields->integer('retry_after_s', 0) : null,
        );
    }
}
