<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\Refused;
use Plasm\Exception\TransportException;
use Plasm\Files\Fetching;
use Plasm\JobAnswer;
use Plasm\JobStatus;
use Plasm\Output\OutputInterface;
use Plasm\PeerId;
use Plasm\Submission;

/**
 * One conversation with one node, about one job.
 *
 * It is begun by exactly one of `submit`, `attach`, `fetch`, `watch`, `status`, `cancel` and
 * `release`. A token is 32 raw
 * bytes. All of them throw `TransportException` and `Refused`.
 */
interface SessionInterface
{
    public function peer(): PeerId;

    /** Return the name and version of the node's software, in its own words. */
    public function agent(): string;

    /**
     * Submit a job, and return when the node has stored it on its disk.
     *
     * @param bool $mayHaveFiles whether the node may have the job's files, so that a proof of possession may replace
     *     their upload
     *
     * @throws TransportException
     * @throws Refused
     * @throws ExceptionInterface if an upload's source cannot be read
     */
    public function submit(
        Submission $job,
        #[\SensitiveParameter] string $token,
        bool $mayHaveFiles = false,
    ): JobStatus;

    /**
     * Receive a job's output, from the present offsets on, until the job has ended.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function attach(string $jobId, #[\SensitiveParameter] string $token, OutputInterface $output): JobAnswer;

    /**
     * Fetch an output file of an ended job, from the present offset on, and return it.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function fetch(string $jobId, #[\SensitiveParameter] string $token, Fetching $fetching): Fetching;

    /**
     * Wait until the job has ended, without receiving its output.
     *
     * @param (\Closure(JobStatus): mixed)|null $changed is called with each new state
     *
     * @throws TransportException
     * @throws Refused
     */
    public function watch(string $jobId, #[\SensitiveParameter] string $token, ?\Closure $changed = null): JobStatus;

    /**
     * @throws TransportException
     * @throws Refused
     */
    public function status(string $jobId, #[\SensitiveParameter] string $token): JobStatus;

    /**
     * End a job, and return when it has ended.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function cancel(string $jobId, #[\SensitiveParameter] string $token): JobStatus;

    /**
     * Have an ended job's inputs and outputs deleted.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function release(string $jobId, #[\SensitiveParameter] string $token): JobStatus;

    /** End the conversation; the job continues. Never throws; a second call is harmless. */
    public function close(): void;
}
