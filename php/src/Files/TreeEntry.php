<?php

declare(strict_types=1);

namespace Plasm\Files;

/** One entry of a tree of files. */
final readonly class TreeEntry
{
    /** Kinds of entries: the file types of WASI preview 1. */
    public const DIRECTORY = 3;
    public const FILE = 4;
    public const LINK = 7;

    /**
     * @param string $path relative to the tree's root
     * @param string $digest of a file: 32 raw bytes
     * @param string $target of a symbolic link
     */
    public function __construct(
        public string $path,
        public int $kind,
        public int $size = 0,
        public string $digest = '',
        public string $target = '',
    ) {
    }
}
