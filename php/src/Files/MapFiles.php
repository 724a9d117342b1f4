<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Submission;

/** The options of the jobs of a map: the files that all of them have in common are read once. */
final class MapFiles
{
    private ?PackedFiles $packed = null;

    /** @param array<string, mixed> $options for all jobs */
    public function __construct(private readonly array $options)
    {
    }

    /**
     * Return the options of one job. Files of its own are added to those of all.
     *
     * @param array<string, mixed> $own
     *
     * @return array<string, mixed>
     */
    public function with(array $own): array
    {
        $isOf = static fn (array $options): bool => array_intersect_key($options, array_flip(Submission::FILE_OPTIONS)) !== [];
        if (!$isOf($this->options) || $isOf($own)) {
            $both = [...$this->options, ...$own];
            $files = [$this->options['files'] ?? null, $own['files'] ?? null];
            if (is_array($files[0]) && is_array($files[1])) {
                $both['files'] = $files[1] + $files[0];
            }

            return $both;
        }
        $others = array_diff_key($this->options, array_flip(Submission::FILE_OPTIONS));
        $this->packed ??= Submission::packed($this->options);

        return [...$others, ...$own, 'files' => $this->packed];
    }
}
