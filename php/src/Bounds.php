<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;

/**
 * The limits of one job at one node, by the client's clock. No message of the node extends them.
 *
 * docs/network.md, "For how long it waits". Only a node that another may replace is bounded.
 */
final class Bounds
{
    public const ANSWER_S = 10.0;
    public const ACCEPT_S = 20.0;
    public const START_S = 30.0;
    public const SLACK_S = 10.0;

    /** A node that receives or sends fewer bytes per second counts as stalled. */
    public const LEAST_BYTES_PER_S = 16 << 10;

    /** The least share of a wait that remains after other nodes have delayed the job. */
    private const LEAST_SHARE = 0.125;

    /** How much faster a node's clock may run when it reports that a job's wall time is over. */
    private const EARLIEST_SHARE = 0.95;
    private const EARLY_S = 1.0;

    private readonly float $acceptedAt;
    private ?float $runningAt = null;

    /**
     * It is made when the node has accepted the job.
     *
     * @param float $share the factor of `shareAfter`
     */
    public function __construct(
        private readonly ClockInterface $clock,
        private readonly Manifest $manifest,
        private readonly float $share = 1.0,
    ) {
        $this->acceptedAt = $clock->now();
    }

    /**
     * Return by which factor the next node's waits are shortened after that many nodes have delayed a job.
     *
     * Each halves them, so that many strangers who accept a job and do nothing cost little more than two.
     */
    public static function shareAfter(int $delays): float
    {
        return max(self::LEAST_SHARE, 0.5 ** $delays);
    }

    /** Return until when a node may take to accept a job after it has offered to. */
    public static function acceptance(ClockInterface $clock, Submission $job): Deadline
    {
        $bytes = $job->module->size() + strlen($job->args) + strlen($job->env) + $job->stdin->size()
            + ($job->files?->size() ?? 0);

        return new Deadline($clock, self::ACCEPT_S + $bytes / self::LEAST_BYTES_PER_S, 'node');
    }

    /** Note a state that the node tells. Only the first RUNNING counts. */
    public function isIn(JobState $state): void
    {
        if ($state === JobState::Running) {
            $this->runningAt ??= $this->clock->now();
        }
    }

    /** Return the moment by which the node must send more, after that many bytes of output. */
    public function deadline(int $takenBytes): Deadline
    {
        $until = $this->runningAt === null
            ? $this->acceptedAt + self::START_S * $this->share
            // Bytes buy time, and there are no more of them than the manifest allows.
            : $this->runningAt + $this->manifest->wallTimeS + self::SLACK_S * $this->share + $takenBytes / self::LEAST_BYTES_PER_S;

        return new Deadline($this->clock, max(0.0, $until - $this->clock->now()), 'node');
    }

    /** Tell whether the job's wall time can be over: it began after the node had accepted it. */
    public function mayHaveTimedOut(): bool
    {
        $waited = $this->clock->now() - $this->acceptedAt;

        return $waited >= $this->manifest->wallTimeS * self::EARLIEST_SHARE - self::EARLY_S;
    }
}
