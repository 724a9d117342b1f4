<?php

declare(strict_types=1);

namespace Plasm\Capabilities;

use Plasm\Record\Fields;

/** How busy a node was when it signed. */
final readonly class Load
{
    private function __construct(public int $running, public int $waiting, public int $capacity)
    {
    }

    /** Read a load, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        return new self($fields->integer('running', 0), $fields->integer('waiting', 0), $fields->integer('capacity', 0));
    }
}
