<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Record\Fields;

/** A job's status as its node reports it. It is not signed: only a receipt is. */
final readonly class JobStatus
{
    /**
     * @param int $attempt how often the job has been started
     * @param int|null $position its place in the queue, 1 for the next
     * @param int $stdoutBytes the bytes there are so far, as is `$stderrBytes`
     * @param \DateTimeImmutable|null $expiresAt when the node deletes inputs, outputs and receipt
     * @param OutcomeKind|null $outcome how it ended, once it has
     * @param PeerId|null $node the node that ran it, as a gateway tells; null for the one that answers
     */
    public function __construct(
        public JobState $state,
        public int $attempt = 0,
        public ?int $position = null,
        public int $stdoutBytes = 0,
        public int $stderrBytes = 0,
        public ?\DateTimeImmutable $acceptedAt = null,
        public ?\DateTimeImmutable $startedAt = null,
        public ?\DateTimeImmutable $finishedAt = null,
        public ?\DateTimeImmutable $expiresAt = null,
        public ?OutcomeKind $outcome = null,
        public ?PeerId $node = null,
    ) {
    }

    /** Read a status, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        $time = static fn (string $name): ?\DateTimeImmutable => $fields->has($name) ? $fields->time($name) : null;
        $values = static fn (array $cases): array => array_column($cases, 'value');

        return new self(
            state: JobState::from($fields->oneOf('state', $values(JobState::cases()))),
            attempt: $fields->integer('attempt', 0),
            position: $fields->has('position') ? $fields->integer('position', 1) : null,
            stdoutBytes: $fields->integer('stdout_bytes', 0),
            stderrBytes: $fields->integer('stderr_bytes', 0),
            acceptedAt: $time('accepted_at'),
            startedAt: $time('started_at'),
            finishedAt: $time('finished_at'),
            expiresAt: $time('expires_at'),
            outcome: $fields->has('outcome')
                ? OutcomeKind::from($fields->oneOf('outcome', $values(OutcomeKind::cases())))
                : null,
            node: $fields->has('node') ? $fields->peer('node') : null,
        );
    }

    /**
     * Tell whether there is no output though some may have come: a run that was broken off may have lost it.
     *
     * The outcome is then one of the node's claims.
     */
    public function withdrawsOutput(): bool
    {
        return $this->outcome?->recheckable() === false && $this->stdoutBytes === 0 && $this->stderrBytes === 0;
    }
}
