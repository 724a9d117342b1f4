<?php

declare(strict_types=1);

namespace Plasm\Files;

/** What a node may serve of a job's outputs, all together. */
final readonly class FetchLimits
{
    /** @param int $fileBytes the bytes of all files */
    public function __construct(public int $entries, public int $fileBytes)
    {
    }

    /**
     * Return what a job's outputs may come to, as far as that is known.
     *
     * @param int|null $inputBytes those of the input files; null if this process does not know them
     */
    public static function of(JobFiles $files, ?int $inputBytes): self
    {
        $bytes = $inputBytes === null ? 1 << 40 : $files->limits->dataBytes + $inputBytes;

        return new self($files->limits->entries + 1, $bytes);
    }

    /** Return what is left for the other outputs. */
    public function less(int $entries, int $fileBytes): self
    {
        return new self(max(0, $this->entries - $entries), max(0, $this->fileBytes - $fileBytes));
    }
}
