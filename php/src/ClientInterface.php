<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\TimedOut;
use Plasm\Source\SourceInterface;

/** What an application needs of Plasm; type-hint this one. All methods throw `ExceptionInterface`. */
interface ClientInterface
{
    /**
     * Hand a job to a node, and return its handle when the node has it safe on disk.
     *
     * @param string|\SplFileInfo|SourceInterface|Job|resource $module a path, the module itself, or a whole job
     * @param array<string, mixed>|Manifest $options
     *     - `args` (list of strings), `env` (names and values), `stdin` (string, stream or SplFileInfo)
     *     - `cpu`, `memory` (bytes or `"64MiB"`), `timeout` (seconds of wall time), `gas`, `output` (bytes)
     *     - `seed` (64 hexadecimal digits), `capabilities`, `attempts`, `verify` (`"signature"`)
     *     - `route`: `"here"`, or `"network"` for a daemon that is a gateway
     * @param array<string, mixed> $input beside a manifest: `args`, `env`, `stdin` and `route`
     *
     * @return string keep it secret: it opens the job's output
     *
     * @throws ExceptionInterface
     */
    public function submit(mixed $module, array|Manifest $options = [], array $input = []): string;

    /**
     * Return where a job stands.
     *
     * @throws ExceptionInterface
     */
    public function status(string $jobId): JobStatus;

    /**
     * Return when a job has ended.
     *
     * @param (callable(JobStatus): mixed)|null $changed is told of each new state
     *
     * @throws TimedOut the job goes on
     * @throws ExceptionInterface
     */
    public function wait(string $jobId, ?float $timeout = null, ?callable $changed = null): JobStatus;

    /**
     * Return a job's result when it has ended, verified.
     *
     * @param Manifest|null $manifest what was submitted, if this is another process and it is known
     *
     * @throws TimedOut the job goes on
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function result(string $jobId, ?float $timeout = null, ?Manifest $manifest = null): Result;

    /**
     * Submit a job and return its result.
     *
     * @param string|\SplFileInfo|SourceInterface|Job|resource $module as in `submit()`
     * @param array<string, mixed>|Manifest $options
     * @param array<string, mixed> $input
     *
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function run(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): Result;

    /**
     * Pass a job's output on as it comes, and return when it has ended.
     *
     * What the callback gets is not verified yet; if this returns, it is.
     *
     * @param callable(string, string): mixed $callback takes `stdout` or `stderr`, and some bytes
     *
     * @throws TimedOut the job goes on
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function logs(string $jobId, callable $callback, ?float $timeout = null): VerifiedReceipt;

    /**
     * End a job, and return when it has ended.
     *
     * @throws ExceptionInterface
     */
    public function cancel(string $jobId): JobStatus;

    /**
     * Have an ended job's inputs and outputs deleted now, not when its time is over.
     *
     * @throws ExceptionInterface
     */
    public function release(string $jobId): JobStatus;

    /**
     * Return the nodes that answer.
     *
     * @return list<Node>
     *
     * @throws ExceptionInterface
     */
    public function discover(): array;
}
