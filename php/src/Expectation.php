<?php

declare(strict_types=1);

namespace Plasm;

/** The caller's knowledge of a job, which a receipt must match; null if unknown. */
final readonly class Expectation
{
    /**
     * @param list<PeerId> $trusted the keys whose signature counts: pinned ones, or that of the node dialled
     * @param PeerId|null $node the node that answered
     * @param string|null $jobId in hexadecimal, as are all digests
     * @param Manifest|null $manifest the manifest that was sent
     * @param string|null $module digest of the module
     * @param string|null $args digest of the list encoding, as is `$env`
     * @param string|null $stdin digest of the bytes, as are `$stdout` and `$stderr`
     * @param string|null $tree digest of the input files' listing
     */
    public function __construct(
        public array $trusted,
        public ?PeerId $node = null,
        public ?string $jobId = null,
        public ?Manifest $manifest = null,
        public ?string $module = null,
        public ?string $args = null,
        public ?string $env = null,
        public ?string $stdin = null,
        public ?string $stdout = null,
        public ?string $stderr = null,
        public ?int $stdoutBytes = null,
        public ?int $stderrBytes = null,
        public ?string $tree = null,
    ) {
    }
}
