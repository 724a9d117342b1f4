<?php

declare(strict_types=1);

namespace Plasm\Files;

/** A directory of this machine whose files a job gets a copy of. */
final readonly class InputDirectory
{
    /**
     * @param bool $writable whether the job may change its copy
     * @param bool $followLinks take what symbolic links lead to, instead of refusing them
     */
    public function __construct(
        public string $path,
        public bool $writable = false,
        public bool $followLinks = false,
    ) {
    }
}
