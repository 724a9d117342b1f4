<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Files\Fetching;
use Plasm\JobAnswer;
use Plasm\JobStatus;
use Plasm\Output\OutputInterface;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\Protocol\Message\Contents;
use Plasm\Submission;
use Plasm\Time\Deadline;
use Plasm\Transport\SessionInterface;

/** A conversation with a `MockTransport`. */
final class MockSession implements SessionInterface
{
    private const CHUNK_BYTES = 65_536;

    public function __construct(private readonly MockTransport $node, private readonly Deadline $deadline)
    {
    }

    public function peer(): PeerId
    {
        return $this->node->peer();
    }

    public function agent(): string
    {
        return 'mock';
    }

    public function submit(
        Submission $job,
        #[\SensitiveParameter] string $token,
        bool $mayHaveFiles = false,
    ): JobStatus {
        return $this->node->put($job, $token)->status();
    }

    public function attach(string $jobId, #[\SensitiveParameter] string $token, OutputInterface $output): JobAnswer
    {
        $job = $this->endedJob($jobId, $token);
        if ($output->attempt() !== $job->status()->attempt) {
            $output->begin($job->status()->attempt);
        }
        $this->send($job->stdout(), Channel::Stdout, $output);
        $this->send($job->stderr(), Channel::Stderr, $output);

        return new JobAnswer($job->status(), $job->envelope(), $this->peer());
    }

    public function fetch(string $jobId, #[\SensitiveParameter] string $token, Fetching $fetching): Fetching
    {
        [$kind, $bytes] = $this->endedJob($jobId, $token)->files()->contents($fetching->product->path);
        $fetching->begin(new Contents($jobId, $kind, strlen($bytes)));
        for ($at = $fetching->taken(); $at < strlen($bytes); $at += self::CHUNK_BYTES) {
            $fetching->take(substr($bytes, $at, self::CHUNK_BYTES));
        }

        return $fetching;
    }

    public function watch(string $jobId, #[\SensitiveParameter] string $token, ?\Closure $changed = null): JobStatus
    {
        if ($changed !== null) {
            $changed($this->job($jobId, $token)->status());
        }

        return $this->endedJob($jobId, $token)->status();
    }

    public function status(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->job($jobId, $token)->status();
    }

    public function cancel(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        $job = $this->job($jobId, $token);
        $job->cancel();

        return $job->status();
    }

    public function release(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        $status = $this->job($jobId, $token)->status();
        if ($status->state->hasEnded()) {
            $this->node->drop($jobId, $token);
        }

        return $status;
    }

    public function close(): void
    {
    }

    private function job(string $jobId, #[\SensitiveParameter] string $token): MockJob
    {
        return $this->node->get($jobId, $token)
            ?? throw new UnknownJob('unknown_job', 'there is no job that this handle opens');
    }

    private function endedJob(string $jobId, #[\SensitiveParameter] string $token): MockJob
    {
        $job = $this->job($jobId, $token);
        if (!$job->status()->state->hasEnded()) {
            throw new TimedOut("the job to end ({$job->status()->state->value})", $this->deadline->seconds ?? INF, 'total');
        }

        return $job;
    }

    private function send(string $bytes, Channel $channel, OutputInterface $output): void
    {
        for ($at = $output->position($channel); $at < strlen($bytes); $at += self::CHUNK_BYTES) {
            $output->take($channel, substr($bytes, $at, self::CHUNK_BYTES));
        }
    }
}
