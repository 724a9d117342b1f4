<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\PeerId;
use Plasm\Verifier\NodeHistory;

/** A transport over which several nodes can run one task without seeing that others do. */
interface SeparatesJobsInterface extends ChoosingTransportInterface
{
    /** Return the network that a node is counted in: its /24 or /48, or that of its relay; null if unknown. */
    public function network(PeerId $peer): ?string;

    /**
     * Return a transport with a fresh identity that chooses no node of these networks.
     *
     * @param list<string> $networks
     */
    public function separate(array $networks): self;

    /**
     * Set the histories by which nodes are chosen: convicted nodes never, nodes with confirmed results before
     * strangers.
     *
     * @param array<string, NodeHistory> $histories by PeerId
     */
    public function known(array $histories): void;
}
