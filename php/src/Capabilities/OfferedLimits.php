<?php

declare(strict_types=1);

namespace Plasm\Capabilities;

use Plasm\Record\Fields;

/** The greatest limits that a job may ask for, and the greatest sizes of uploads. */
final readonly class OfferedLimits
{
    private function __construct(
        public int $gas,
        public int $memoryBytes,
        public int $outputBytes,
        public int $wallTimeS,
        public int $cpu,
        public int $moduleBytes,
        public int $stdinBytes,
        public int $treeBytes,
    ) {
    }

    /** Read limits, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        return new self(
            gas: $fields->integer('gas', 1),
            memoryBytes: $fields->integer('memory_bytes', 0),
            outputBytes: $fields->integer('output_bytes', 0),
            wallTimeS: $fields->integer('wall_time_s', 1),
            cpu: $fields->integer('cpu', 1),
            moduleBytes: $fields->integer('module_bytes', 0),
            stdinBytes: $fields->integer('stdin_bytes', 0),
            treeBytes: $fields->isThere('tree_bytes') ? $fields->integer('tree_bytes', 0) : 0,
        );
    }
}
