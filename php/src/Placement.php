<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\NoNode;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Transport\ChoosingTransportInterface;
use Plasm\Transport\ConversationInterface;

/** Gives a job to a node, and to another one if that refuses it, is lost, or fails. */
final class Placement
{
    /** Fresh keys are free: whoever made up any number of nodes is not to keep a client for ever. */
    private const MAX_NODES = 8;

    /** How often a submission that broke off is repeated with the same node. */
    private const REPEATED = 2;

    /** @var list<PeerId> nodes that had the job */
    private array $avoid = [];

    private ?Handle $handle = null;

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
                throw $this->reason ?? $exception;
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
        $timeIsOver = $reason instanceof TimedOut && $reason->limit === 'total';
        if ($this->handle === null || $timeIsOver) {
            return false;
        }
        $this->avoid[] = $this->handle->peer;
        $this->handle = null;
        $this->reason ??= $reason;

        return count($this->avoid) < self::MAX_NODES;
    }

    private function submitOnce(Deadline $deadline): Handle
    {
        $node = $this->open($deadline);
        try {
            // Once made, it is kept: only the same token makes a repeated submission the same job.
            $this->handle ??= Handle::create($this->job->id(), $node->peer());
            $node->submit($this->job, $this->handle->token());

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
