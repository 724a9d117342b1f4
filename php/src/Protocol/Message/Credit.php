<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\Channel;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** There is room for an upload's bytes up to an offset. */
final readonly class Credit extends NodeMessage
{
    protected function __construct(public Channel $channel, public int $upto)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        $labels = array_map(static fn (Channel $channel): string => $channel->label(), Channel::cases());
        $index = array_search($fields->oneOf('channel', $labels), $labels, true);
        if ($fields->isThere('attempt')) {
            $fields->integer('attempt', 0);
        }

        return new self(Channel::cases()[(int) $index], $fields->integer('upto', 0));
    }
}
