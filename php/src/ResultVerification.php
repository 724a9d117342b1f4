<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\NodeFailed;
use Plasm\Exception\NotEstablished;
use Plasm\Exception\ReceiptRejected;
use Plasm\Output\Digester;
use Plasm\Output\Spool;

/** Verifies a node's result before the caller sees it. */
final readonly class ResultVerification
{
    /**
     * @param string $require the required assurance: `signature`, `known`, or a fact that a verifier establishes
     * @param list<PeerId> $pinned the keys to trust, none for the key of the node that was asked
     * @param bool $chooses whether the transport chooses among strangers' nodes
     */
    public function __construct(
        private string $require,
        private array $pinned,
        private bool $chooses,
        private Reputation $reputation = new Reputation(),
    ) {
    }

    /**
     * Verify that a receipt belongs to the job, is signed by the node that ran it, and matches the output.
     *
     * @param bool $isGateway whether the job was sent through the node as a gateway, which then names the node that
     *     ran it
     *
     * @throws ReceiptRejected
     */
    public function verify(
        Handle $handle,
        JobAnswer $answer,
        ?Manifest $manifest,
        Digester|Spool $stdout,
        Digester|Spool $stderr,
        bool $isGateway,
    ): VerifiedReceipt {
        // A daemon's word on which node ran a job counts only if it is the gateway; a pinned key needs none.
        $isPinned = in_array($answer->ranBy, $this->pinned);
        $node = $isGateway || $isPinned ? $answer->ranBy : $handle->peer;
        try {
            $verified = (new ReceiptVerifier())->verify($answer->envelopeJson, new Expectation(
                trusted: $this->pinned === [] ? [$node] : $this->pinned,
                node: $node,
                jobId: $handle->jobId,
                manifest: $manifest,
                stdout: $stdout->sha256(),
                stderr: $stderr->sha256(),
                stdoutBytes: $stdout->size(),
                stderrBytes: $stderr->size(),
            ));
            $outcome = $verified->receipt->observed->outcome;
            $told = $answer->status;
            if ($told->state !== $outcome->state() || !in_array($told->outcome, [null, $outcome->kind], true)) {
                throw new ContradictoryReceipt(['the node reports another outcome than its receipt states']);
            }
        } catch (ReceiptRejected $rejected) {
            $file = Evidence::keep($handle->peer, $handle->jobId, $rejected->getMessage(), $answer->envelopeJson);
            throw $file === null ? $rejected : $rejected->withReason("kept in $file");
        }
        $standing = match (true) {
            $this->pinned !== [] => $this->reputation->find($node)->convictedAt === null
                ? Standing::Named
                : Standing::Convicted,
            $this->chooses, !$node->equals($handle->peer) => Standing::Stranger,
            default => Standing::Own,
        };

        return new VerifiedReceipt($verified->receipt, $verified->verdict->of($standing), $verified->envelopeJson);
    }

    /**
     * Return the result, if its verdict meets the requirement.
     *
     * @throws NotEstablished
     */
    public function required(JobResult $result): JobResult
    {
        $this->require($result->verdict);

        return $result;
    }

    /** Tell whether a verdict meets the requirement. */
    public function accepts(Verdict $verdict): bool
    {
        try {
            $this->require($verdict);
        } catch (NotEstablished) {
            return false;
        }

        return true;
    }

    /** @throws NotEstablished if a verdict does not meet the requirement */
    public function require(Verdict $verdict): void
    {
        $isDoubted = in_array($verdict->standing, [Standing::Stranger, Standing::Convicted], true);
        if ($this->require === 'known' && $isDoubted) {
            throw new NotEstablished(
                "known is required, and the receipt is signed by $verdict->signer, {$verdict->standing->value}",
            );
        }
        if (!in_array($this->require, ['signature', 'known', ...$verdict->established], true)) {
            throw new NotEstablished(
                "$this->require is required, and what is established is: " . implode(', ', $verdict->established),
            );
        }
    }

    /** Return why the node's claim that the job ended is not accepted; null if it is. */
    public static function claimProblem(JobResult $result, Bounds $bounds, Handle $handle): ?NodeFailed
    {
        $claim = match ($result->outcome->kind) {
            OutcomeKind::Cancelled => 'that the job was cancelled, which this client has not asked for',
            OutcomeKind::TimedOut => $bounds->mayHaveTimedOut() ? null : 'that the job\'s time is over, which it is not',
            default => null,
        };
        if ($claim === null) {
            return null;
        }
        $message = "the node $handle->peer says $claim";
        $file = Evidence::keep($handle->peer, $handle->jobId, $message, $result->envelopeJson);

        return new NodeFailed($message . ($file === null ? '' : " (kept in $file)"));
    }
}
