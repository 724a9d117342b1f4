<?php

declare(strict_types=1);

namespace Plasm\Receipt;

use Plasm\Record\Fields;

/** The part of a receipt that only the node claims: label it as claims wherever it is shown. */
final readonly class Claims
{
    /**
     * @param numeric-string $wallTimeMs up to 64 bits, beyond what an int holds; so are the next two
     * @param numeric-string $cpuTimeMs
     * @param numeric-string $peakMemoryBytes
     * @param string $isolation `process` or `shared`
     */
    private function __construct(
        public \DateTimeImmutable $startedAt,
        public \DateTimeImmutable $finishedAt,
        public string $wallTimeMs,
        public string $cpuTimeMs,
        public string $peakMemoryBytes,
        public string $runtimeName,
        public string $runtimeVersion,
        public string $isolation,
        public int $attempt,
    ) {
    }

    /** Read claims, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        $runtime = $fields->object('runtime');

        return new self(
            startedAt: $fields->time('startedAt'),
            finishedAt: $fields->time('finishedAt'),
            wallTimeMs: $fields->counter('wallTimeMs'),
            cpuTimeMs: $fields->counter('cpuTimeMs'),
            peakMemoryBytes: $fields->counter('peakMemoryBytes'),
            runtimeName: $runtime->matching('name', '[a-z0-9_-]{1,64}', 'a name of at most 64 characters'),
            runtimeVersion: $runtime->matching('version', '[\x20-\x7e]{0,64}', 'a string of at most 64 characters'),
            isolation: $fields->oneOf('isolation', ['process', 'shared']),
            attempt: $fields->isThere('attempt') ? $fields->integer('attempt', 1, 100) : 1,
        );
    }
}
