<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\NodeFailed;
use Plasm\Exception\NoNode;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Transport\ChoosingTransportInterface;
use Plasm\Transport\RemembersFailuresInterface;
use Plasm\Transport\SessionInterface;

/**
 * Submits a job to a node, and to another one if that node refuses it, is lost, or fails.
 *
 * The transport chooses each node (`Transport\RemoteTransport::choose`); this class says which ones to avoid.
 */
final class Failover
{
    /**
     * The most nodes that are tried. Keys are free to make, and an operator of many nodes must not delay a client
     * without limit.
     */
    private const MAX_NODES = 16;

    /** How long to pause before another search when no node is left. */
    private const PAUSE_S = 1.0;

    /** How long to search for other nodes after every node that had the job lied or failed it. */
    private const PATIENCE_WITH_LIARS_S = 20.0;

    /** How long the cancellation at the nodes where the job still waits may take, all nodes together. */
    private const WITHDRAW_S = 2.0;

    /** How often an interrupted submission is repeated with the same node. */
    private const REPEATED = 2;

    /** @var list<PeerId> nodes that had the job */
    private array $avoid = [];

    /** @var list<PeerId> those of them that were lost or kept the job waiting: they may still have it */
    private array $left = [];

    /** @var array<string, Handle> by PeerId: where the job was accepted */
    private array $accepted = [];

    /** @var array<string, true> by PeerId: nodes that the job was taken from */
    private array $givenUp = [];

    /** How many nodes in a row kept the job waiting or were lost with it. */
    private int $delays = 0;

    private ?float $noneSince = null;

    /** Whether all nodes so far have refused the job, and would again. */
    private bool $isFinal = true;
    private ?Handle $handle = null;

    /** Of the node that was asked last and did not refuse: it may have the job, though its answer was lost. */
    private ?Handle $asked = null;

    /** @var array<string, Handle> by PeerId: the same token continues the same job at a node */
    private array $handles = [];

    /** Why the first node did not run the job: more useful than the error that no other node is left. */
    private ?ExceptionInterface $reason = null;

    /**
     * @param list<PeerId> $among the only nodes to consider; none for all
     * @param list<PeerId> $avoid nodes that must not get the job
     * @param SentJobs $sent records which nodes have the job's files
     */
    public function __construct(
        private readonly ChoosingTransportInterface $transport,
        private readonly Submission $job,
        private readonly array $among,
        private readonly RetryPolicy $policy,
        private readonly ClockInterface $clock,
        array $avoid = [],
        private readonly SentJobs $sent = new SentJobs(),
    ) {
        $this->avoid = $avoid;
    }

    /**
     * Submit the job to a node that accepts it.
     *
     * @throws ExceptionInterface
     */
    public function submit(Deadline $deadline): Handle
    {
        for ($broken = 0;;) {
            try {
                return $this->submitOnce($deadline);
            } catch (NoNode $exception) {
                if (!$this->comeBack($deadline)) {
                    throw $this->reason ?? $exception;
                }
            } catch (Refused | TransportException $exception) {
                $mayRepeat = $exception instanceof ConnectionLost
                    || ($exception instanceof Refused && $exception->reason === 'module_missing');
                $pause = $this->policy->pause(1, RetryPolicy::chance());
                if ($mayRepeat && $this->handle !== null && ++$broken <= self::REPEATED && $pause < $deadline->remaining()) {
                    $this->clock->sleep($pause);
                } elseif (!$this->passOn($exception)) {
                    throw $this->reason ?? $exception;
                } else {
                    $broken = 0;
                }
            }
        }
    }

    /** Return by which factor the waits for the next node are shortened (`Bounds::shareAfter`). */
    public function share(): float
    {
        return Bounds::shareAfter($this->delays);
    }

    /** Return the handle at the node that was asked last and did not refuse; null if there is none. */
    public function asked(): ?Handle
    {
        return $this->asked;
    }

    /**
     * Give up the node that has the job. Return whether another may be tried.
     *
     * @param ExceptionInterface|null $reason null if the node itself reports that it failed
     */
    public function passOn(?ExceptionInterface $reason): bool
    {
        $lied = $reason instanceof ReceiptRejected || $reason instanceof ProtocolError || $reason instanceof NodeFailed
            || $reason instanceof FilesNotServed;
        $timeIsOver = $reason instanceof TimedOut && $reason->limit === 'total';
        if ($this->handle === null || $timeIsOver) {
            return false;
        }
        $peer = $this->handle->peer;
        $this->avoid[] = $peer;
        $this->givenUp[(string) $peer] = true;
        if (!$lied && ($reason instanceof TimedOut || $reason instanceof ConnectionLost || $reason instanceof Unreachable)) {
            $this->left[] = $peer;
            ++$this->delays;
        }
        if (!$reason instanceof Refused && $this->transport instanceof RemembersFailuresInterface) {
            $this->transport->failed($peer, $lied);
        }
        $this->handle = null;
        $this->isFinal = $this->isFinal && $reason instanceof Refused;
        $this->reason ??= $reason;

        return count($this->givenUp) < self::MAX_NODES;
    }

    /**
     * Cancel the job at the nodes where it still waits, once another node has done it, without waiting long for the
     * answers.
     */
    public function withdraw(Handle $done): void
    {
        $deadline = new Deadline($this->clock, self::WITHDRAW_S, 'total');
        foreach ($this->left as $peer) {
            $handle = $this->accepted[(string) $peer] ?? null;
            if ($handle === null || $peer->equals($done->peer) || $deadline->remaining() <= 0.0) {
                continue;
            }
            try {
                $node = $this->transport->open($peer, $deadline);
                try {
                    $node->cancel($handle->jobId, $handle->token());
                } finally {
                    $node->close();
                }
            } catch (ExceptionInterface) {
                // A node that does not answer now may still run the job in vain; the wall time bounds that.
            }
        }
    }

    /**
     * Pause before another search when no node is left. Return whether to continue.
     *
     * Lost and slow nodes are considered again. If all nodes lied or failed the job, which they may do on purpose,
     * the search continues for nodes that this client has not found yet.
     */
    private function comeBack(Deadline $deadline): bool
    {
        $this->noneSince ??= $this->clock->now();
        $waited = $this->clock->now() - $this->noneSince;
        $pause = min(self::PAUSE_S, $this->policy->longestS);
        $patience = (float) $this->job->manifest->wallTimeS;
        if ($this->left === []) {
            $patience = $this->isFinal || $this->among !== [] ? 0.0 : min($patience, self::PATIENCE_WITH_LIARS_S);
        }
        if ($waited >= $patience || $pause >= $deadline->remaining()) {
            return false;
        }
        $this->clock->sleep($pause);
        $left = $this->left;
        $this->left = [];
        $this->delays = $left === [] ? $this->delays : 0; // they may be busy: each gets its whole time now
        $this->avoid = array_values(array_filter($this->avoid, static fn (PeerId $peer): bool => !in_array($peer, $left)));

        return true;
    }

    private function submitOnce(Deadline $deadline): Handle
    {
        $node = $this->open($deadline);
        try {
            // Once made, it is kept: only the same token makes a repeated submission the same job.
            $this->handle ??= $this->handles[(string) $node->peer()] ??= Handle::create($this->job->id(), $node->peer());
            $before = $this->asked;
            $this->asked = $this->handle;
            try {
                $node->submit($this->job, $this->handle->token(), $this->sent->hasFiles($this->job, $node->peer()));
                $this->sent->placed($this->job, $node->peer());
            } catch (Refused $exception) {
                $this->asked = $before;
                throw $exception;
            }
            if (!isset($this->givenUp[(string) $this->handle->peer])) {
                $this->noneSince = null; // this node had not failed the job: the wait for another node starts from zero
            }
            $this->accepted[(string) $this->handle->peer] = $this->handle;

            return $this->handle;
        } finally {
            $node->close();
        }
    }

    private function open(Deadline $deadline): SessionInterface
    {
        return $this->handle === null
            ? $this->transport->choose($this->job, $deadline, $this->avoid, $this->among)
            : $this->transport->open($this->handle->peer, $deadline);
    }
}
