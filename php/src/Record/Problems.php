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

    /**
     * Add a problem for each integer outside its bounds.
     *
     * @param array<string, int> $values
     * @param array<string, array{int, int}> $bounds least and greatest value, by the same names
     */
    public function addOutside(array $values, array $bounds): void
    {
        foreach ($values as $name => $value) {
            [$minimum, $maximum] = $bounds[$name];
            if ($value < $minimum || $value > $maximum) {
                $this->add($name, "expected an integer from $minimum to $maximum, got $value");
            }
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
