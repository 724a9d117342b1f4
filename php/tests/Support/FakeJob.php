<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Manifest;

/** A job of a `FakeNode`. */
final class FakeJob
{
    /** @var array<int, string> what was uploaded, by channel */
    public array $uploads = [1 => '', 2 => '', 3 => '', 4 => ''];

    public bool $isAccepted = false;
    public bool $isCancelled = false;
    public int $attempt = 1;

    /** @param array<string, int> $sizes */
    public function __construct(public readonly Manifest $manifest, public readonly array $sizes)
    {
        if (isset($sizes['files'])) {
            $this->uploads[7] = '';
        }
    }

    public function isUploaded(): bool
    {
        return array_map(strlen(...), array_values($this->uploads)) === array_values($this->sizes);
    }
}
