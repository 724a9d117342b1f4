<?php

declare(strict_types=1);

namespace Plasm\Verifier;

/** What is known of a node: results that were accepted, confirmed by another node, and found to be false. */
final readonly class NodeHistory
{
    /**
     * @param int $checked confirmed results since the last false one
     * @param string|null $proof the file of the fraud proof that is about the node
     * @param int|null $convictedAt when a proof convicted it, in seconds since 1970; null if none has
     */
    public function __construct(
        public int $accepted = 0,
        public int $checked = 0,
        public int $failed = 0,
        public ?string $proof = null,
        public ?int $convictedAt = null,
        public int $lastSeen = 0,
    ) {
    }
}
