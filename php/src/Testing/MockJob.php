<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\JobState;
use Plasm\JobStatus;
use Plasm\Outcome;
use Plasm\Submission;

/** A job of a `MockTransport`. */
final class MockJob
{
    public function __construct(
        public readonly Submission $job,
        private MockAnswer $answer,
        private readonly ReceiptSigner $signer,
    ) {
    }

    public function status(): JobStatus
    {
        $outcome = $this->answer->toldOutcome ?? $this->answer->outcome;

        return new JobStatus(
            state: $outcome?->state() ?? JobState::Running,
            attempt: 1,
            stdoutBytes: strlen($this->stdout()),
            stderrBytes: strlen($this->stderr()),
            outcome: $outcome?->kind,
        );
    }

    public function cancel(): void
    {
        if ($this->answer->outcome === null) {
            $this->answer = MockAnswer::ended(Outcome::cancelled());
        }
    }

    public function stdout(): string
    {
        return $this->answer->sentStdout ?? $this->answer->stdout;
    }

    public function stderr(): string
    {
        return $this->answer->stderr;
    }

    /** Return the signed receipt as JSON, once the job has ended. */
    public function envelope(): string
    {
        $answer = $this->answer;

        return $answer->sentEnvelope ?? $this->signer->receipt(
            $this->job->manifest,
            $answer->outcome ?? throw new \LogicException('the job has not ended'),
            $answer->stdout,
            $answer->stderr,
            (new MockFiles($answer->files))->products(),
        );
    }

    public function files(): MockFiles
    {
        return new MockFiles($this->answer->sentFiles ?? $this->answer->files);
    }
}
