<?php

declare(strict_types=1);

namespace Plasm\Output;

/** The digest and size of bytes, taken as they pass. */
final class Digester
{
    private \HashContext $hash;
    private int $size = 0;

    public function __construct()
    {
        $this->hash = hash_init('sha256');
    }

    public function __clone()
    {
        $this->hash = hash_copy($this->hash);
    }

    public function update(string $bytes): void
    {
        hash_update($this->hash, $bytes);
        $this->size += strlen($bytes);
    }

    public function size(): int
    {
        return $this->size;
    }

    /** Return the digest of all bytes so far, in hexadecimal. */
    public function sha256(): string
    {
        return hash_final(hash_copy($this->hash));
    }
}
