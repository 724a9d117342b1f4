<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\TransportException;
use Plasm\PeerId;
use Plasm\Submission;
use Plasm\Time\Deadline;

/** Reaches nodes of which any will do. */
interface ChoosingTransportInterface extends TransportInterface
{
    /**
     * Open a conversation with a node whose capability record accepts the job.
     *
     * @param list<PeerId> $avoid nodes that have failed the job
     * @param list<PeerId> $among the only nodes to consider; none for all
     *
     * @throws TransportException
     */
    public function choose(Submission $job, Deadline $deadline, array $avoid = [], array $among = []): SessionInterface;
}
