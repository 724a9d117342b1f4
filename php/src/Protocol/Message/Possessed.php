<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\Channel;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** Whether the module, or the files, need not be sent. */
final readonly class Possessed extends NodeMessage
{
    protected function __construct(public bool $known, public Channel $channel = Channel::Module)
    {
    }

    protected static function fromFields(Fields $fields): self
    {
        $isOfFiles = $fields->has('channel') && $fields->oneOf('channel', ['module', 'files']) === 'files';

        return new self($fields->boolean('known'), $isOfFiles ? Channel::Files : Channel::Module);
    }
}
