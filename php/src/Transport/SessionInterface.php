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
     * Hand over a job, and return when the node has it safe on disk.
     *
     * @param bool $mayHaveFiles whether the node may have the job's files, so that proving to have them too may spare
     *                           sending them
     *
     * @throws TransportException
     * @throws Refused
     * @throws ExceptionInterface if what is to be uploaded cannot be read
     */
    public function submit(
        Submission $job,
        #[\SensitiveParameter] string $token,
        bool $mayHaveFiles = false,
    ): JobStatus;

    /**
     * Take a job's output, from what there is of it already, until the job has ended.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function attach(string $jobId, #[\SensitiveParameter] string $token, OutputInterface $output): JobAnswer;

    /**
     * Take an output of a job that has ended, from what there is of it already, and return it.
     *
     * @throws TransportException
     * @throws Refused
     */
    public function fetch(string $jobId, #[\SensitiveParameter] string $token, Fetching $fetching): Fetching;

    /**
     * Return when the job has ended, without its output.
     *
     * @param (\Closure(JobStatus): mixed)|null $changed is told of each new state
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

    /** End the conversation; the job goes on. Never throws; doing it twice is harmless. */
    public function close(): void;
}
