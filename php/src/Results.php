<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ExceptionInterface;
use Plasm\Files\Fetching;
use Plasm\Files\OutputFetch;
use Plasm\Output\Collected;
use Plasm\Output\Digester;
use Plasm\Output\Limited;
use Plasm\Output\OutputInterface;
use Plasm\Output\Passed;
use Plasm\Output\Spool;
use Plasm\Protocol\Channel;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Transport\SessionInterface;

/** Fetches the results of accepted jobs from their nodes, and verifies them. */
final readonly class Results
{
    /**
     * @param string $route the route of a job that this client did not submit
     * @param bool $isOwn whether the node is the user's own, which has no limit of time for its files
     */
    public function __construct(
        private Conversations $conversations,
        private ResultVerification $verification,
        private SentJobs $sent,
        private ClockInterface $clock,
        private string $route,
        private bool $isOwn,
    ) {
    }

    /**
     * Return the verified result of a job, with its output and files.
     *
     * @param Manifest|null $manifest the job's, to compare; null for the one that this client submitted, if it did
     * @param float|null $patienceS how long the node may be away; null for the policy's number of attempts
     *
     * @throws ExceptionInterface
     */
    public function of(
        Handle $handle,
        Deadline $deadline,
        ?Manifest $manifest,
        ?float $patienceS = null,
        ?Bounds $bounds = null,
    ): JobResult {
        $output = new Collected();
        $answer = $this->follow($handle, $deadline, $this->limited($output, $handle, $manifest, $bounds), $patienceS);
        [$stdout, $stderr] = array_map($output->spool(...), Channel::OUTPUTS);

        $verified = $this->verify($handle, $answer, $manifest, $stdout, $stderr);
        $rest = fn (Fetching $fetching): mixed => $this->conversations->repeated(
            $handle->peer,
            $deadline,
            static fn (SessionInterface $node): Fetching => $node->fetch($handle->jobId, $handle->token(), $fetching),
            $patienceS,
        );
        $fetch = new OutputFetch($rest, $this->isOwn ? null : $this->clock);

        return new JobResult($verified, $output, files: $fetch->all($handle, $verified, $this->sent->fileBytes($handle->jobId)));
    }

    /**
     * Pass the output of a job on as it arrives, and return its verified receipt. Files stay at the node.
     *
     * @throws ExceptionInterface
     */
    public function pass(Handle $handle, Deadline $deadline, Passed $output): VerifiedReceipt
    {
        $answer = $this->follow($handle, $deadline, $this->limited($output, $handle, null));
        $output->settle();
        [$stdout, $stderr] = array_map($output->digester(...), Channel::OUTPUTS);

        return $this->verify($handle, $answer, null, $stdout, $stderr);
    }

    /** Limit an output to the size that the job may write, if known. */
    private function limited(OutputInterface $output, Handle $handle, ?Manifest $manifest, ?Bounds $bounds = null): Limited
    {
        $manifest ??= $this->sent->manifest($handle->jobId);

        return new Limited($output, $manifest?->task->limits->outputBytes, $bounds);
    }

    private function follow(Handle $handle, Deadline $deadline, OutputInterface $output, ?float $patienceS = null): JobAnswer
    {
        return $this->conversations->repeated(
            $handle->peer,
            $deadline,
            static fn (SessionInterface $node): JobAnswer => $node->attach($handle->jobId, $handle->token(), $output),
            $patienceS,
            $this->sent->manifest($handle->jobId)?->wallTimeS ?? 0.0,
        );
    }

    private function verify(
        Handle $handle,
        JobAnswer $answer,
        ?Manifest $manifest,
        Digester|Spool $stdout,
        Digester|Spool $stderr,
    ): VerifiedReceipt {
        return $this->verification->verify(
            $handle,
            $answer,
            $manifest ?? $this->sent->manifest($handle->jobId),
            $stdout,
            $stderr,
            isGateway: ($this->sent->route($handle->jobId) ?? $this->route) === 'network',
        );
    }
}
