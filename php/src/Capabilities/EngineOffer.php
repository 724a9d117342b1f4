<?php

declare(strict_types=1);

namespace Plasm\Capabilities;

use Plasm\Record\Fields;

/** An engine, and the features of modules (docs/determinism.md) that it runs. */
final readonly class EngineOffer
{
    /** @param list<string> $features */
    private function __construct(public string $name, public string $version, public array $features)
    {
    }

    /** Read an engine, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        return new self(
            name: $fields->matching('name', '[a-z0-9]{1,64}', 'a name of at most 64 characters'),
            version: $fields->matching('version', '[A-Za-z0-9._+\/:@-]{1,64}', 'a version of at most 64 characters'),
            features: $fields->names('features', '[a-z0-9-]{1,64}'),
        );
    }
}
