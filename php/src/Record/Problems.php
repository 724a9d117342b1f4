<?php

declare(strict_types=1);

namespace Plasm\Record;

use Plasm\Exception\InvalidRecord;

/** The problems found in one record. */
final class Problems
{
    /** A hostile record may be wrong in a thousand places. */
    private const MAX_PROBLEMS = 20;

    /** @var list<array{string, string}> */
    private array $found = [];

    public function __construct(private readonly string $record)
    {
    }

    public function add(string $path, string $message): void
    {
        if (count($this->found) < self::MAX_PROBLEMS) {
            $this->found[] = [$path, $message];
        }
    }

    /** @throws InvalidRecord if anything was found */
    public function finish(): void
    {
        if ($this->found !== []) {
            throw new InvalidRecord($this->record, $this->found);
        }
    }
}
