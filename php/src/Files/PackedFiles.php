<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidArgument;

/** A job's input tree, read once, and what its manifest says of it. Several jobs may have it as their option `files`. */
final readonly class PackedFiles
{
    public function __construct(public Pack $pack, public JobFiles $asked)
    {
    }

    /**
     * Read the files that a job's options name.
     *
     * @param array<array-key, mixed> $files as the option `files`
     * @param list<string> $outputs as the option `outputs`
     *
     * @throws InvalidArgument
     */
    public static function of(array $files, array $outputs = [], FileLimits $limits = new FileLimits()): self
    {
        return FileTree::packed($files, $outputs, $limits);
    }
}
