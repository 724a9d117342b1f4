<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\PeerId;
use Plasm\Verifier\NodeHistory;

/** A transport over which several nodes can run one task without seeing that others do. */
interface SeparatesJobsInterface extends ChoosingTransportInterface
{
    /** Return what a node is counted with: its /24 or /48, or that of its relay; null if that is not known. */
    public function network(PeerId $peer): ?string;

    /**
     * Return a transport with a fresh identity that chooses no node of these networks.
     *
     * @param list<string> $networks
     */
    public function separate(array $networks): self;

    /**
     * Choose by what is known of nodes: convicted ones never, and those whose results were confirmed rather than strangers.
     *
     * @param array<string, NodeHistory> $histories by PeerId
     */
    public function known(array $histories): void;
}
