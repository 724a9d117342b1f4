<?php

declare(strict_types=1);

namespace Plasm\Receipt;

use Plasm\Outcome;
use Plasm\Receipt;
use Plasm\Record\Fields;

/** What anyone can re-check, if the outcome is re-checkable and the run reproducible. */
final readonly class Observed
{
    /**
     * @param string $stdout digest of what was put out, as is `$stderr`
     * @param numeric-string $gasUsed up to 64 bits, beyond what an int holds; so are the sizes
     * @param numeric-string $stdoutBytes
     * @param numeric-string $stderrBytes
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
    ) {
    }

    /**
     * Read a result, noting problems in `$fields`.
     *
     * @param array{stdout: string, stderr: string} $subjects the outputs' digests
     */
    public static function fromFields(Fields $fields, array $subjects): self
    {
        return new self(
            outcome: Outcome::fromFields($fields->object('outcome')),
            reproducible: $fields->boolean('reproducible'),
            gasUsed: $fields->counter('gasUsed'),
            gasSchedule: $fields->oneOf('gasSchedule', [Receipt::GAS_SCHEDULE]),
            stdout: $subjects['stdout'],
            stderr: $subjects['stderr'],
            stdoutBytes: $fields->counter('stdoutBytes'),
            stderrBytes: $fields->counter('stderrBytes'),
        );
    }
}
