<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Output\Spool;

/** An output that is here whole and has the digest that the receipt states. */
final readonly class Output
{
    /** @param Spool|Pack $bytes a file's bytes, or a tree's pack */
    public function __construct(public Product $product, private Spool|Pack $bytes)
    {
    }

    public function isDirectory(): bool
    {
        return $this->bytes instanceof Pack;
    }

    /** @return list<TreeEntry> of a directory: what is in it, in the order of its listing */
    public function entries(): array
    {
        return $this->bytes instanceof Pack ? $this->bytes->entries : [];
    }

    /** Return how many bytes its files have together. */
    public function fileBytes(): int
    {
        return $this->bytes instanceof Pack ? $this->bytes->fileBytes() : $this->bytes->size();
    }

    /** Return the output itself, if it is a file. */
    public function file(): ResultFile
    {
        return new ResultFile($this->product->path, $this->bytes->size(), $this->product->sha256, $this->bytes->read(...));
    }

    /** Return a file that is in it. */
    public function fileOf(TreeEntry $entry): ResultFile
    {
        assert($this->bytes instanceof Pack);
        $pack = $this->bytes;
        $begin = $pack->offset($entry);
        $top = $this->product->path;

        return new ResultFile(
            $top === JobFiles::ROOT ? $entry->path : "$top/$entry->path",
            $entry->size,
            bin2hex($entry->digest),
            static fn (int $offset, int $length): string => $pack->read($begin + $offset, $length),
        );
    }
}
