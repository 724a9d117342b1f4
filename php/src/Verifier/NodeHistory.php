<?php

declare(strict_types=1);

namespace Plasm\Verifier;

/** The counts of a node's results: accepted, confirmed by another node, and found to be false. */
final readonly class NodeHistory
{
    /** The share of nodes that are taken to lie before anything is known of them. */
    /** A node with fewer confirmed results is new. */
    private const NEW_CHECKS = 5;
    private const LIARS = 0.2;
    private const MOST_DOUBT_S = 5.0;

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

    /** Tell whether the node has few confirmed results and no false one. */
    public function isNew(): bool
    {
        return $this->checked < self::NEW_CHECKS && $this->failed === 0 && $this->convictedAt === null;
    }

    /** Tell whether its last result that was compared was false. */
    public function isOutvoted(): bool
    {
        return $this->failed > 0 && $this->checked === 0;
    }

    /**
     * Return by how many seconds of latency a stranger, or a node that has failed, is put after a node that is known well.
     *
     * The same as in Python (`plasm_core.client.node_choice`): one second for a node of which nothing was checked, less
     * with each check by the formula of docs/verification.md, and five seconds for one whose last result was false.
     */
    public function doubtS(): float
    {
        return match (true) {
            $this->checked > 0 => min(1.0, 0.25 / ($this->checked * M_E) / self::LIARS),
            $this->isOutvoted() || $this->convictedAt !== null => self::MOST_DOUBT_S,
            default => 1.0,
        };
    }
}
