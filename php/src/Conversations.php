<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\PeerMismatch;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Transport\SessionInterface;
use Plasm\Transport\TransportInterface;

/** A client's conversations with nodes: each is opened for one use, and closed in every case. */
final readonly class Conversations
{
    /** How long the cancellation of abandoned jobs may take, all together. */
    private const WITHDRAW_S = 2.0;

    /** @param list<PeerId> $pinned the only nodes to talk to; none for whichever is reached */
    public function __construct(
        private TransportInterface $transport,
        private array $pinned,
        private Retries $retries,
        private ClockInterface $clock,
    ) {
    }

    /**
     * Open a conversation, use it, and close it.
     *
     * @template T
     *
     * @param PeerId|null $peer null for the pinned node, or any
     * @param \Closure(SessionInterface): T $use
     *
     * @return T
     *
     * @throws ExceptionInterface
     */
    public function once(?PeerId $peer, Deadline $deadline, \Closure $use): mixed
    {
        $node = $this->transport->open($peer ?? (count($this->pinned) === 1 ? $this->pinned[0] : null), $deadline);
        try {
            $isPinned = array_filter($this->pinned, static fn (PeerId $pinned): bool => $pinned->equals($node->peer()));
            if ($this->pinned !== [] && $isPinned === []) {
                throw new PeerMismatch("the node that answers is {$node->peer()}, which is not pinned");
            }

            return $use($node);
        } finally {
            $node->close();
        }
    }

    /**
     * Do the same, again while that may help. `$patienceS` and `$wallTimeS` are as of `Retries::run`.
     *
     * @template T
     *
     * @param \Closure(SessionInterface): T $use
     *
     * @return T
     *
     * @throws ExceptionInterface
     */
    public function repeated(
        PeerId $peer,
        Deadline $deadline,
        \Closure $use,
        ?float $patienceS = null,
        float $wallTimeS = 0.0,
    ): mixed {
        return $this->retries->run(
            $deadline,
            fn (): mixed => $this->once($peer, $deadline, $use),
            patienceS: $patienceS,
            wallTimeS: $wallTimeS,
        );
    }

    /**
     * Cancel jobs whose results are not needed, without waiting long for the answers.
     *
     * @param list<Handle> $handles
     */
    public function withdraw(array $handles): void
    {
        $deadline = new Deadline($this->clock, self::WITHDRAW_S, 'total');
        foreach ($handles as $handle) {
            if ($deadline->hasPassed()) {
                return;
            }
            try {
                $this->once($handle->peer, $deadline, static fn (SessionInterface $node): JobStatus
                    => $node->cancel($handle->jobId, $handle->token()));
            } catch (ExceptionInterface) {
                // A node that does not answer now may still run the job in vain; the wall time bounds that.
            }
        }
    }
}
