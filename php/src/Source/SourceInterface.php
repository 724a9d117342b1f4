<?php

declare(strict_types=1);

namespace Plasm\Source;

use Plasm\Exception\InvalidArgument;

/** Bytes to upload from any source, read in pieces, so that they need not fit into memory. */
interface SourceInterface
{
    public function size(): int;

    /** Return the digest of all the bytes, in hexadecimal. */
    public function sha256(): string;

    /**
     * Return at most `$length` bytes from `$offset`, and fewer only at the end.
     *
     * @throws InvalidArgument if they cannot be read
     */
    public function read(int $offset, int $length): string;
}
