<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\TransportException;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Reaches nodes. */
interface TransportInterface
{
    /**
     * Open a conversation with a node. Its PeerId is known when this returns.
     *
     * @param PeerId|null $peer the node that must answer; null for any
     * @param Deadline $deadline for the whole conversation
     *
     * @throws TransportException
     */
    public function open(?PeerId $peer, Deadline $deadline): SessionInterface;

    /**
     * Return the nodes that answer.
     *
     * @return list<Node>
     *
     * @throws TransportException if there is nowhere to look
     */
    public function discover(Deadline $deadline): array;
}
