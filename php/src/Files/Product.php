<?php

declare(strict_types=1);

namespace Plasm\Files;

/** An output that a job left, as its receipt states it: a file with the digest of its bytes, or a tree with that of its listing. */
final readonly class Product
{
    /**
     * @param string $kind `file` or `tree`
     * @param string $sha256 in hexadecimal
     */
    public function __construct(public string $path, public string $kind, public string $sha256)
    {
    }

    /** Return its name among a receipt's subjects. */
    public function subject(): string
    {
        return "$this->kind:$this->path";
    }
}
