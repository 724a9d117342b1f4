<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ExceptionInterface;
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
use Plasm\Transport\ConversationInterface;
use Plasm\Transport\RemembersFailuresInterface;

/** Gives a job to a node, and to another one if that refuses it, is lost, or fails. */
final class Placement
{
    /** Fresh keys are free: whoever made up any number of nodes is not to keep a client for ever. */
    private const MAX_NODES = 16;

    /** How long to pause before nodes are looked for again where none is left. */
    private const PAUSE_S = 1.0;

    /** How long the job may take to be withdrawn where it was left waiting, all nodes together. */
    private const WITHDRAW_S = 2.0;

    /** How often a submission that broke off is repeated with the same node. */
    private const REPEATED = 2;

    /** @var list<PeerId> nodes that had the job */
    private array $avoid = [];

    /** @var list<PeerId> those among them that were lost or kept the job waiting: they may have it still */
    private array $left = [];

    /** @var array<string, Handle> by PeerId: where the job was accepted */
    private array $accepted = [];

    private int $passedOn = 0;
    private ?float $noneSince = null;
    private ?Handle $handle = null;

    /** @var array<string, Handle> by PeerId: the same token makes the same job where it was left */
    private array $handles = [];

    /** Why the first node did not do it, which tells more than that there is no other. */
    private ?ExceptionInterface $reason = null;

    /** @param list<PeerId> $among the only nodes to consider; none for all */
    public function __construct(
        private readonly ChoosingTransportInterface $transport,
        private readonly Job $job,
        private readonly array $among,
        private readonly RetryPolicy $policy,
        private readonly ClockInterface $clock,
    ) {
    }

    /**
     * Hand the job to a node that takes it.
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
                $pause = $this->policy->pause(1, mt_rand() / mt_getrandmax());
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

    /**
     * Take the job from the node that has it. Return whether another may be tried.
     *
     * @param ExceptionInterface|null $reason null if the node says itself that it failed
     */
    public function passOn(?ExceptionInterface $reason): bool
    {
        $lied = $reason instanceof ReceiptRejected || $reason instanceof ProtocolError || $reason instanceof NodeFailed;
        $timeIsOver = $reason instanceof TimedOut && $reason->limit === 'total';
        if ($this->handle === null || $timeIsOver) {
            return false;
        }
        $peer = $this->handle->peer;
        $this->avoid[] = $peer;
        if (!$lied && ($reason instanceof TimedOut || $reason instanceof ConnectionLost || $reason instanceof Unreachable)) {
            $this->left[] = $peer;
        }
        if (!$reason instanceof Refused && $this->transport instanceof RemembersFailuresInterface) {
            $this->transport->failed($peer, $lied);
        }
        $this->handle = null;
        $this->reason ??= $reason;

        return ++$this->passedOn < self::MAX_NODES;
    }

    /** Cancel the job where it was left waiting, once another node has done it, as far as that takes no time. */
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
                // A node that does not answer now may run it in vain; its time there is bounded.
            }
        }
    }

    /** Consider again the nodes that were lost or slow, where nobody else takes the job. Return whether there are any. */
    private function comeBack(Deadline $deadline): bool
    {
        $this->noneSince ??= $this->clock->now();
        $waited = $this->clock->now() - $this->noneSince;
        $pause = min(self::PAUSE_S, $this->policy->longestS);
        if ($this->left === [] || $waited >= $this->job->manifest->wallTimeS || $pause >= $deadline->remaining()) {
            return false;
        }
        $this->clock->sleep($pause);
        $left = $this->left;
        $this->left = [];
        $this->avoid = array_values(array_filter($this->avoid, static fn (PeerId $peer): bool => !in_array($peer, $left)));

        return true;
    }

    private function submitOnce(Deadline $deadline): Handle
    {
        $node = $this->open($deadline);
        try {
            // Once made, it is kept: only the same token makes a repeated submission the same job.
            $this->handle ??= $this->handles[(string) $node->peer()] ??= Handle::create($this->job->id(), $node->peer());
            $node->submit($this->job, $this->handle->token());
            $this->accepted[(string) $this->handle->peer] = $this->handle;

            return $this->handle;
        } finally {
            $node->close();
        }
    }

    private function open(Deadline $deadline): ConversationInterface
    {
        return $this->handle === null
            ? $this->transport->choose($this->job, $deadline, $this->avoid, $this->among)
            : $this->transport->open($this->handle->peer, $deadline);
    }
}
