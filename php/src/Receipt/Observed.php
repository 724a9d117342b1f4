<?php

declare(strict_types=1);

namespace Plasm\Receipt;

use Plasm\Files\Product;
use Plasm\Outcome;
use Plasm\Record\Fields;

/** The part of a receipt that anyone can re-check, if the outcome is re-checkable and the run reproducible. */
final readonly class Observed
{
    /**
     * @param string $stdout digest of the output, as is `$stderr`
     * @param numeric-string $gasUsed up to 64 bits, beyond what an int holds; so are the sizes
     * @param numeric-string $stdoutBytes
     * @param numeric-string $stderrBytes
     * @param list<Product> $files the outputs that the job left, by their paths
     */
    private function __construct(
        public Outcome $outcome,
        public bool $reproducible,
        public string $gasUsed,
        public string $gasSchedule,
        public string $stdout,
        public string $stderr,
        public string $stdoutBytes,
        public string $stderrBytes,
        public array $files,
    ) {
    }

    /**
     * Read a result, noting problems in `$fields`.
     *
     * @param array{stdout: string, stderr: string} $subjects the outputs' digests
     * @param list<Product> $files
     * @param string $gasSchedule that of the task's profile
     */
    public static function fromFields(Fields $fields, array $subjects, array $files, string $gasSchedule): self
    {
        return new self(
            outcome: Outcome::fromFields($fields->object('outcome')),
            reproducible: $fields->boolean('reproducible'),
            gasUsed: $fields->counter('gasUsed'),
            gasSchedule: $fields->oneOf('gasSchedule', [$gasSchedule]),
            stdout: $subjects['stdout'],
            stderr: $subjects['stderr'],
            stdoutBytes: $fields->counter('stdoutBytes'),
            stderrBytes: $fields->counter('stderrBytes'),
            files: $files,
        );
    }
}
