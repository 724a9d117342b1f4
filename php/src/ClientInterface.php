<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\JobFailed;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\TimedOut;
use Plasm\Source\SourceInterface;

/** The interface of a client; type-hint it in applications. All methods throw `ExceptionInterface`. */
interface ClientInterface
{
    /**
     * Submit a job, and return its handle when the node has stored it on its disk.
     *
     * @param string|\SplFileInfo|SourceInterface|Submission|resource $module a path, the module itself, or a whole job
     * @param array<string, mixed>|Manifest $options
     *     - `args` (list of strings), `env` (names and values), `stdin` (string, stream or SplFileInfo)
     *     - `cpu`, `gas`, `memory`, `output` (numbers, or `"1e9"`, `"64MiB"`), `wall_time` (seconds, or `"30s"`)
     *     - `seed` (64 hexadecimal digits), `grants` (`clock.real`, `random.real`), `attempts`, `verify` (`"signature"`)
     *     - `files`: files for the job by their paths in its tree, each a string (its bytes), a stream, an `SplFileInfo` of
     *       a file or directory, or an `InputDirectory`; `outputs`: paths of the tree to keep, directories with a slash at
     *       the end are made; `file_limits` (a `FileLimits`): see docs/files.md
     *     - `entry`: the export to call in place of `_start`; `profile`: `"plasm.det/v2"` for a module with exceptions or
     *       tail calls
     *     - `route`: `"here"`, or `"network"` for a daemon that is a gateway
     * @param array<string, mixed> $input beside a manifest: `args`, `env`, `stdin`, `files`, `outputs` and `route`
     *
     * @return string keep it secret: it opens the job's output
     *
     * @throws ExceptionInterface
     */
    public function submit(mixed $module, array|Manifest $options = [], array $input = []): string;

    /**
     * Return a job's status.
     *
     * @throws ExceptionInterface
     */
    public function status(string $jobId): JobStatus;

    /**
     * Wait until a job has ended.
     *
     * @param (callable(JobStatus): mixed)|null $changed is told of each new state
     *
     * @throws TimedOut the job continues
     * @throws ExceptionInterface
     */
    public function wait(string $jobId, ?float $timeout = null, ?callable $changed = null): JobStatus;

    /**
     * Wait until a job has ended, and return its verified result.
     *
     * @param Manifest|null $manifest the submitted manifest, if another process submitted the job and it is known
     *
     * @throws TimedOut the job goes on
     * @throws ReceiptRejected if the receipt is rejected
     * @throws ExceptionInterface
     */
    public function result(string $jobId, ?float $timeout = null, ?Manifest $manifest = null): JobResult;

    /**
     * Submit a job and return its result, also if the job failed: see `JobResult::ok()`.
     *
     * @param string|\SplFileInfo|SourceInterface|Submission|resource $module as in `submit()`
     * @param array<string, mixed>|Manifest $options
     * @param array<string, mixed> $input
     *
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function run(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): JobResult;

    /**
     * Submit a job and return its result if the job exited with code 0, as Symfony's `Process::mustRun()`.
     *
     * @param string|\SplFileInfo|SourceInterface|Submission|resource $module as in `submit()`
     * @param array<string, mixed>|Manifest $options
     * @param array<string, mixed> $input
     *
     * @throws JobFailed if the job ended otherwise; it has the result
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function mustRun(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): JobResult;

    /**
     * Run a module once for each input, several jobs at once, and yield the results under the inputs' keys.
     *
     *     foreach ($plasm->map('resize.wasm', ['a' => $jpeg, 'b' => ['stdin' => $png, 'args' => ['80']]]) as $key => $result) {
     *         file_put_contents("$key.small", $result->orFail()->stdout());
     *     }
     *
     * An input is what `stdin` takes, or an array of options, which are added to `$options`. Inputs are read when
     * nodes have room. A job that failed has a result too: see `JobResult::ok()`. Leaving the loop cancels the jobs
     * that have not ended.
     *
     * @template TKey
     *
     * @param string|\SplFileInfo|SourceInterface|resource $module as in `submit()`; it is read once
     * @param iterable<TKey, mixed> $inputs
     * @param array<string, mixed> $options as in `submit()`, for all jobs
     * @param int $inFlight how many jobs at once, 1 to 256
     * @param bool $ordered whether results come in the order of the inputs, or as jobs end
     * @param bool $errors whether the error of a job without a result is yielded in its place; it is thrown otherwise
     * @param float|null $timeout seconds for each job, as in `run()`
     *
     * @return \Generator<TKey, JobResult|ExceptionInterface>
     *
     * @throws ExceptionInterface
     */
    public function map(
        mixed $module,
        iterable $inputs,
        array $options = [],
        int $inFlight = 8,
        bool $ordered = true,
        bool $errors = false,
        ?float $timeout = null,
    ): \Generator;

    /**
     * Pass a job's output to a callback as it arrives, and return when the job has ended.
     *
     * The output is not verified before this method returns.
     *
     * @param callable(string, string): mixed $callback takes `stdout` or `stderr`, and some bytes
     * @param (callable(string): mixed)|null $again is told `stdout` or `stderr`, of which what was handed on came from a
     *                                              failed attempt and differs: it follows from its beginning
     * @param array{stdout?: int, stderr?: int} $from how many bytes of each were handed on by an earlier call: they are
     *                                                received and verified again, and not passed on again
     *
     * @throws TimedOut the job goes on
     * @throws ReceiptRejected if the receipt does not hold
     * @throws ExceptionInterface
     */
    public function logs(
        string $jobId,
        callable $callback,
        ?float $timeout = null,
        ?callable $again = null,
        array $from = [],
    ): VerifiedReceipt;

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
