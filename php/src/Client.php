<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Cache\ResultCache;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TransportException;
use Plasm\Files\MapFiles;
use Plasm\Libp2p\Cid;
use Plasm\Libp2p\Io\Loop;
use Plasm\Output\Passed;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Transport\ChoosingTransportInterface;
use Plasm\Transport\Configuration;
use Plasm\Transport\RemoteTransport;
use Plasm\Transport\SeparatesJobsInterface;
use Plasm\Transport\SessionInterface;
use Plasm\Transport\TransportInterface;
use Plasm\Verifier\VerifierInterface;

/** Runs jobs on nodes, and verifies their results. */
final class Client implements ClientInterface
{
    /** The default time that `run` waits in addition to the job's wall time: for a node, and in its queue. */
    private const QUEUE_S = 3600.0;

    private readonly TransportInterface $transport;
    private readonly Retries $retries;
    private readonly RetryPolicy $policy;

    /** The default route of a job. */
    private readonly string $route;

    /** @var list<PeerId> */
    private readonly array $pinned;

    private readonly SentJobs $sent;
    private readonly Reputation $reputation;
    private readonly ResultVerification $verification;
    private readonly Conversations $conversations;
    private readonly Results $results;
    private readonly ?ResultCache $kept;
    private ?Handle $accepted = null;

    /**
     * @param TransportInterface|array<string, mixed>|null $transport how nodes are reached:
     *     - `mode`: `"local"`, the daemon of this machine, unless it says `"gateway"`, that daemon, which hands jobs on
     *       to the network, `"http"`, the daemon behind a `plasm web`, or `"remote"`, nodes that are found in the DHT
     *       and spoken to directly
     *     - local and gateway: `socket` (path), `trusted_user` (name or number: whose daemon is believed beside your own)
     *     - http: `url` (of the server), `token` (of `plasm web token make`), `ca_file` (certificates to trust in place
     *       of the system's), `allow_plain` (whether the token may go to another machine without TLS)
     *     - remote: `bootstrap` (addresses to begin at), `node_class` (the class of nodes to look for),
     *       `allow_private` (whether private addresses that others tell are dialled), `cache` (a directory,
     *       a `CacheInterface`, or false), `directory` (the DHT's protocol), `watch` (is told what happens)
     * @param string $require what must be established of a result: `"signature"`, `"known"` for a node of your own
     *                        or one that is pinned, or what one of the verifiers establishes; see docs/network.md
     * @param list<VerifierInterface> $verifiers what judges results beyond the signature, in mode `remote`
     * @param Reputation|null $reputation what is known of nodes; null for what this user's PHP clients have learnt
     * @param bool|ResultCache $reuse whether `run`, `mustRun` and `map` return the verified result that an equal task had
     *                                before, and run nothing (`JobResult::reused()`)
     * @param list<PeerId|string> $pinned the only nodes to talk to and to trust; none for whichever is reached
     */
    public function __construct(
        #[\SensitiveParameter] TransportInterface|array|null $transport = null,
        array $pinned = [],
        private readonly Timeouts $timeouts = new Timeouts(),
        RetryPolicy $retries = new RetryPolicy(),
        private readonly ClockInterface $clock = new SystemClock(),
        string $require = 'signature',
        private readonly array $verifiers = [],
        ?Reputation $reputation = null,
        bool|ResultCache $reuse = false,
    ) {
        if ($reuse !== false && $verifiers !== []) {
            throw new InvalidArgument('reuse: of a kept result the signature is verified only; leave out verifiers');
        }
        $this->kept = is_bool($reuse) ? ($reuse ? ResultCache::ofUser() : null) : $reuse;
        $names = array_map(static fn (VerifierInterface $each): string => $each->name(), $verifiers);
        if (!in_array($require, ['signature', 'known', ...$names], true)) {
            throw new InvalidArgument(
                'require: this client establishes "' . implode('" and "', ['signature', 'known', ...$names])
                    . '" only; with other verifiers, a daemon or the Python client can more',
            );
        }
        $this->reputation = $reputation ?? new Reputation();
        $configuration = $transport instanceof TransportInterface
            ? Configuration::given($transport)
            : Configuration::of($transport ?? [], $timeouts, $clock);
        $this->transport = $configuration->transport;
        if ($verifiers !== [] && !$this->transport instanceof SeparatesJobsInterface) {
            throw new InvalidArgument('verifiers: several nodes run a job in mode "remote" only');
        }
        $this->route = $configuration->route;
        $this->retries = new Retries($retries, $clock);
        $this->policy = $retries;
        $this->pinned = array_map(
            static fn (mixed $peer): PeerId => match (true) {
                $peer instanceof PeerId => $peer,
                is_string($peer) => Cid::parsePeer(trim($peer)),
                default => throw new InvalidArgument('pinned: expected PeerIds, got ' . get_debug_type($peer)),
            },
            array_values($pinned),
        );
        $this->sent = new SentJobs();
        $this->verification = new ResultVerification(
            $require,
            $this->pinned,
            chooses: $this->transport instanceof ChoosingTransportInterface,
            reputation: $this->reputation,
        );
        $this->conversations = new Conversations($this->transport, $this->pinned, $this->retries, $clock);
        $this->results = new Results(
            $this->conversations,
            $this->verification,
            $this->sent,
            $clock,
            $this->route,
            isOwn: !$this->transport instanceof ChoosingTransportInterface,
        );
    }

    public function submit(mixed $module, array|Manifest $options = [], array $input = []): string
    {
        return (string) $this->submitJob($this->job($module, $options, $input), $this->deadline(null));
    }

    /**
     * Return the handle of the last job that a node accepted, or may have accepted if the connection broke before the
     * answer.
     *
     * It is returned also if a later step failed; null if no node accepted a job. With it a caller finds a job again
     * that `run()` submitted but did not follow to its end.
     */
    public function accepted(): ?string
    {
        return $this->accepted === null ? null : (string) $this->accepted;
    }

    public function status(#[\SensitiveParameter] string $jobId): JobStatus
    {
        return $this->ask($jobId, 'status');
    }

    public function wait(#[\SensitiveParameter] string $jobId, ?float $timeout = null, ?callable $changed = null): JobStatus
    {
        $handle = Handle::parse($jobId);
        $changed = $changed === null ? null : $changed(...);

        return $this->conversations->repeated(
            $handle->peer,
            $this->deadline($timeout),
            static fn (SessionInterface $node): JobStatus => $node->watch($handle->jobId, $handle->token(), $changed),
        );
    }

    public function result(#[\SensitiveParameter] string $jobId, ?float $timeout = null, ?Manifest $manifest = null): JobResult
    {
        return $this->verification->required($this->results->of(Handle::parse($jobId), $this->deadline($timeout), $manifest));
    }

    public function run(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): JobResult
    {
        return $this->runJob($this->job($module, $options, $input), $timeout);
    }

    public function map(
        mixed $module,
        iterable $inputs,
        array $options = [],
        int $inFlight = 8,
        bool $ordered = true,
        bool $errors = false,
        ?float $timeout = null,
    ): \Generator {
        $loop = $this->transport instanceof RemoteTransport ? $this->transport->loop() : new Loop();
        $map = new JobMap($loop, $inFlight, $ordered, $errors);
        $source = Submission::module($module);
        $files = new MapFiles($options, $loop);
        $run = function (mixed $input, \Closure $placed) use ($source, $files, $timeout): JobResult {
            $job = $this->job($source, $files->with(is_array($input) ? $input : ['stdin' => $input]), []);

            return $files->after($job->files, fn (\Closure $accepted): JobResult => $this->runJob(
                $job,
                $timeout,
                static function (Handle $handle) use ($placed, $accepted): void {
                    $placed($handle);
                    $accepted();
                },
            ));
        };

        return $map->results($inputs, $run, $this->conversations->withdraw(...));
    }

    public function mustRun(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): JobResult
    {
        return $this->run($module, $options, $input, $timeout)->orFail();
    }

    /**
     * @param (callable(string): mixed)|null $again is told `stdout` or `stderr`, of which what was handed on came from a
     *                                              failed attempt and differs: it follows from its beginning
     */
    public function logs(
        #[\SensitiveParameter] string $jobId,
        callable $callback,
        ?float $timeout = null,
        ?callable $again = null,
        array $from = [],
    ): VerifiedReceipt {
        $handle = Handle::parse($jobId);
        foreach ($from as $stream => $offset) {
            if (!in_array($stream, ['stdout', 'stderr'], true) || !is_int($offset) || $offset < 0) {
                throw new InvalidArgument("from: expected ['stdout' => BYTES, 'stderr' => BYTES]");
            }
        }
        $output = new Passed($callback(...), $again === null ? null : $again(...), $from);
        $verified = $this->results->pass($handle, $this->deadline($timeout), $output);
        $this->verification->require($verified->verdict);

        return $verified;
    }

    public function cancel(#[\SensitiveParameter] string $jobId): JobStatus
    {
        return $this->ask($jobId, 'cancel');
    }

    public function release(#[\SensitiveParameter] string $jobId): JobStatus
    {
        return $this->ask($jobId, 'release');
    }

    public function discover(): array
    {
        return $this->transport->discover($this->deadline(null));
    }

    /**
     * @param array<string, mixed>|Manifest $options
     * @param array<string, mixed> $input
     */
    private function job(mixed $module, array|Manifest $options, array $input): Submission
    {
        if ($module instanceof Submission && ($options !== [] || $input !== [])) {
            throw new InvalidArgument('a job has its options by now: give it alone');
        }
        $twice = is_array($options) ? array_keys(array_intersect_key($options, $input)) : [];
        if ($twice !== []) {
            throw new InvalidArgument('given twice: ' . implode(', ', $twice));
        }

        return match (true) {
            $module instanceof Submission => $module,
            $options instanceof Manifest => Submission::ofManifest($options, $module, ['route' => $this->route, ...$input]),
            default => Submission::create($module, ['route' => $this->route, ...$options, ...$input]),
        };
    }

    /** @param (\Closure(Handle): void)|null $placed is told each node that accepts the job */
    private function runJob(Submission $job, ?float $timeout, ?\Closure $placed = null): JobResult
    {
        $strangers = $this->transport instanceof ChoosingTransportInterface || $job->route === 'network';
        $kept = $this->kept?->find($job->manifest, $this->pinned, $this->reputation->convicted(), $strangers);
        if ($kept !== null && $this->verification->accepts($kept->verdict)) {
            return $kept;
        }
        $result = $this->runAnew($job, $timeout, $placed);
        $this->kept?->keep($job->manifest, $result);

        return $result;
    }

    /** @param (\Closure(Handle): void)|null $placed is told each node that accepts the job */
    private function runAnew(Submission $job, ?float $timeout, ?\Closure $placed): JobResult
    {
        $deadline = $this->deadline($timeout ?? $this->timeouts->totalS ?? $job->manifest->wallTimeS + self::QUEUE_S);
        if ($this->verifiers !== []) {
            return $this->verification->required($this->runVerified($job, $deadline, $placed));
        }
        $failover = $this->failover($job);
        if ($failover !== null) {
            return $this->verification->required($this->runSomewhere($failover, $job, $deadline, $placed));
        }
        $handle = $this->submitJob($job, $deadline);
        $placed === null || $placed($handle);

        return $this->verification->required($this->results->of($handle, $deadline, $job->manifest));
    }

    /**
     * Return how to find a job its node; null if there is nothing to choose.
     *
     * @param list<PeerId> $avoid
     */
    private function failover(Submission $job, array $avoid = []): ?Failover
    {
        if ($this->transport instanceof SeparatesJobsInterface) {
            $this->transport->known($this->reputation->all());
        }

        return $this->transport instanceof ChoosingTransportInterface
            ? new Failover($this->transport, $job, $this->pinned, $this->policy, $this->clock, $avoid, $this->sent)
            : null;
    }

    /** Run a job on as many nodes as the verifiers ask for, each with its own identity. */
    private function runVerified(Submission $job, Deadline $deadline, ?\Closure $placed): JobResult
    {
        $isFirst = true;
        $execute = function (Submission $job, array $avoid, array $networks) use ($deadline, $placed, &$isFirst): array {
            assert($this->transport instanceof SeparatesJobsInterface && $this->verifiers !== []);
            $transport = $isFirst ? $this->transport : $this->transport->separate($networks);
            $isFirst = false;
            $client = new self(
                $transport,
                $this->pinned,
                $this->timeouts,
                $this->policy,
                $this->clock,
                reputation: $this->reputation,
            );
            $failover = $client->failover($job, $avoid);
            assert($failover !== null);
            try {
                $result = $client->runSomewhere($failover, $job, $deadline, $placed);
            } finally {
                $this->accepted = $client->accepted ?? $this->accepted;
            }
            $this->sent->add($job);

            return [$result, $transport->network($result->receipt->node)];
        };
        assert($this->verifiers !== []);

        return (new VerifiedRun($this->verifiers, $this->reputation, $this->clock, $execute))->run($job, $deadline);
    }

    /** Run a job on one node after another, until one of them neither refuses it nor is lost nor fails. */
    private function runSomewhere(Failover $failover, Submission $job, Deadline $deadline, ?\Closure $placed = null): JobResult
    {
        $failed = $handle = null;
        while (true) {
            try {
                $handle = $failover->submit($deadline);
                $this->accepted = $handle;
                $placed === null || $placed($handle);
            } catch (ExceptionInterface $exception) {
                $this->noteAsked($handle ?? $failover->asked());

                return $failed ?? throw $exception;
            }
            $bounds = new Bounds($this->clock, $job->manifest, $failover->share());
            $this->sent->add($job);
            try {
                $result = $this->results->of($handle, $deadline, $job->manifest, $this->timeouts->patienceS * $failover->share(), $bounds);
                $reason = ResultVerification::claimProblem($result, $bounds, $handle);
                if ($reason === null && $result->outcome->kind !== OutcomeKind::SystemError) {
                    $failover->withdraw($handle);

                    return $result;
                }
                if ($reason === null) {
                    $failed = $result;
                }
            } catch (ReceiptRejected | Refused | TransportException $reason) {
                // The next node starts the job from the beginning.
            }
            if (!$failover->passOn($reason)) {
                return $failed ?? throw $reason;
            }
        }
    }

    /** Keep the handle at a node that may have the job, though its answer was lost. */
    private function noteAsked(?Handle $handle): void
    {
        $this->accepted = $handle ?? $this->accepted;
    }

    private function submitJob(Submission $job, Deadline $deadline): Handle
    {
        $failover = $this->failover($job);
        try {
            $handle = $failover?->submit($deadline) ?? $this->submitHere($job, $deadline);
        } catch (ExceptionInterface $exception) {
            $this->noteAsked($failover?->asked());
            throw $exception;
        }
        $this->accepted = $handle;
        $this->sent->add($job);

        return $handle;
    }

    private function submitHere(Submission $job, Deadline $deadline): Handle
    {
        $handle = null;
        $submit = function (SessionInterface $node) use ($job, &$handle): Handle {
            // Once made, it is kept: only the same token makes a repeated submission the same job.
            $handle ??= Handle::create($job->id(), $node->peer());
            try {
                $node->submit($job, $handle->token(), $this->sent->hasFiles($job, $node->peer()));
                $this->sent->placed($job, $node->peer());
            } catch (TransportException $exception) {
                $this->noteAsked($handle);
                throw $exception;
            }

            return $handle;
        };

        return $this->retries->run(
            $deadline,
            function () use ($deadline, $submit, &$handle): Handle {
                return $this->conversations->once($handle?->peer, $deadline, $submit);
            },
            knowsDaemon: false,
            wallTimeS: $job->manifest->wallTimeS,
        );
    }

    /** @param 'cancel'|'release'|'status' $question */
    private function ask(#[\SensitiveParameter] string $jobId, string $question): JobStatus
    {
        $handle = Handle::parse($jobId);

        return $this->conversations->repeated(
            $handle->peer,
            $this->deadline(null),
            static fn (SessionInterface $node): JobStatus => $node->$question($handle->jobId, $handle->token()),
        );
    }

    private function deadline(?float $timeout): Deadline
    {
        if ($timeout !== null && is_nan($timeout)) {
            throw new InvalidArgument('a timeout is a number of seconds');
        }

        return new Deadline($this->clock, $timeout ?? $this->timeouts->totalS);
    }
}
