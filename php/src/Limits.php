<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Record\Fields;
use Plasm\Record\Problems;

/** The limits that are part of the task: reaching one is an outcome anyone can re-check. */
final readonly class Limits
{
    public const DEFAULT_GAS = 100_000_000_000;
    public const DEFAULT_MEMORY_BYTES = 256 << 20;
    public const DEFAULT_OUTPUT_BYTES = 64 << 20;

    private const BOUNDS = [
        'gas' => [1, Fields::MAX_INTEGER],
        'memory_bytes' => [65_536, 1 << 32],
        'output_bytes' => [0, 1 << 40],
    ];

    /** @throws InvalidRecord unless a manifest can ask for them */
    public function __construct(
        public int $gas = self::DEFAULT_GAS,
        public int $memoryBytes = self::DEFAULT_MEMORY_BYTES,
        public int $outputBytes = self::DEFAULT_OUTPUT_BYTES,
    ) {
        $problems = new Problems('limits');
        $problems->addOutside($this->toArray(), self::BOUNDS);
        $problems->finish();
    }

    /** Read a manifest's limits, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        return new self(...$fields->integers(self::BOUNDS));
    }

    /** @return array{gas: int, memory_bytes: int, output_bytes: int} */
    public function toArray(): array
    {
        return ['gas' => $this->gas, 'memory_bytes' => $this->memoryBytes, 'output_bytes' => $this->outputBytes];
    }
}
