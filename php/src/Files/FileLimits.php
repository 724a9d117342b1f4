<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidRecord;
use Plasm\Record\Fields;
use Plasm\Record\Problems;

/** What a job's files may come to: the bytes that it writes, names in its tree, open descriptors. */
final readonly class FileLimits
{
    public const DEFAULT_DATA_BYTES = 256 << 20;
    public const DEFAULT_DESCRIPTORS = 1024;

    private const BOUNDS = [
        'data_bytes' => [0, 1 << 32],
        'entries' => [0, Listing::MAX_ENTRIES],
        'descriptors' => [4, 4096],
    ];

    /** @throws InvalidRecord unless a manifest can ask for them */
    public function __construct(
        public int $dataBytes = self::DEFAULT_DATA_BYTES,
        public int $entries = Listing::MAX_ENTRIES,
        public int $descriptors = self::DEFAULT_DESCRIPTORS,
    ) {
        $problems = new Problems('file limits');
        $problems->addOutside($this->toArray(), self::BOUNDS);
        $problems->finish();
    }

    /** Read a manifest's limits, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        return new self(...$fields->integers(self::BOUNDS));
    }

    /** Read a receipt's limits, decimal strings, noting problems in `$fields`. */
    public static function fromAsked(Fields $fields): self
    {
        $values = array_map(
            static fn (string $name): int => (int) $fields->counter($name),
            ['dataBytes', 'entries', 'descriptors'],
        );
        try {
            return new self(...$values);
        } catch (InvalidRecord $exception) {
            $fields->problem('', implode('; ', array_column($exception->problems, 1)));

            return new self();
        }
    }

    /** Return what the files may take of a worker's memory: what the job writes, which grows by eighths, and inodes. */
    public function memoryBytes(): int
    {
        return intdiv($this->dataBytes * 5, 4) + $this->entries * 2048;
    }

    /** @return array{data_bytes: int, entries: int, descriptors: int} */
    public function toArray(): array
    {
        return ['data_bytes' => $this->dataBytes, 'entries' => $this->entries, 'descriptors' => $this->descriptors];
    }
}
