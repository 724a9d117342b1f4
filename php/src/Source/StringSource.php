<?php

declare(strict_types=1);

namespace Plasm\Source;

use Plasm\Digest;

/** Bytes in memory. */
final readonly class StringSource implements SourceInterface
{
    public function __construct(private string $bytes)
    {
    }

    public function size(): int
    {
        return strlen($this->bytes);
    }

    public function sha256(): string
    {
        return Digest::of($this->bytes);
    }

    public function read(int $offset, int $length): string
    {
        return substr($this->bytes, $offset, $length);
    }
}
