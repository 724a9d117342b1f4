<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NodeFailed;
use Plasm\Exception\NotEstablished;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TransportException;
use Plasm\Libp2p\Cid;
use Plasm\Output\Collected;
use Plasm\Output\Digester;
use Plasm\Output\Limited;
use Plasm\Output\OutputInterface;
use Plasm\Output\Passed;
use Plasm\Output\Spool;
use Plasm\Protocol\Channel;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Transport\ChoosingTransportInterface;
use Plasm\Transport\Configuration;
use Plasm\Transport\ConversationInterface;
use Plasm\Transport\TransportInterface;

/** Runs jobs on nodes, and verifies what they answer. */
final class Client implements ClientInterface
{
    private const MAX_REMEMBERED = 1000;

    private readonly TransportInterface $transport;
    private readonly Retries $retries;
    private readonly RetryPolicy $policy;

    /** What a job's route is unless it says another. */
    private readonly string $route;

    /** @var list<PeerId> */
    private readonly array $pinned;

    /** @var array<string, Manifest> what was submitted here, by job id: the latest */
    private array $submitted = [];

    /** @var array<string, string> the routes of those jobs */
    private array $routes = [];
    private ?string $accepted = null;

    /**
     * @param TransportInterface|array<string, mixed>|null $transport how nodes are reached:
     *     - `mode`: `"local"`, the daemon of this machine, unless it says `"gateway"`, that daemon, which hands jobs on
     *       to the network, or `"remote"`, nodes that are found in the DHT and spoken to directly
     *     - local and gateway: `socket` (path), `trusted_user` (name or number: whose daemon is believed beside your own)
     *     - remote: `bootstrap` (addresses to begin at), `capability` (the class of nodes to look for),
     *       `allow_private` (whether private addresses that others tell are dialled), `cache` (a directory,
     *       a `CacheInterface`, or false), `directory` (the DHT's protocol), `watch` (is told what happens)
     * @param string $require what must be established of a result: `"signature"`, or `"known"` for a node of your own
     *                        or one that is pinned; see docs/network.md
     * @param list<PeerId|string> $pinned the only nodes to talk to and to trust; none for whichever is reached
     */
    public function __construct(
        TransportInterface|array|null $transport = null,
        array $pinned = [],
        private readonly Timeouts $timeouts = new Timeouts(),
        RetryPolicy $retries = new RetryPolicy(),
        private readonly ClockInterface $clock = new SystemClock(),
        private readonly string $require = 'signature',
    ) {
        if (!in_array($require, ['signature', 'known'], true)) {
            throw new InvalidArgument(
                'require: this client establishes "signature" and "known" only; a daemon or the Python client can more',
            );
        }
        $configuration = $transport instanceof TransportInterface
            ? Configuration::given($transport)
            : Configuration::of($transport ?? [], $timeouts, $clock);
        $this->transport = $configuration->transport;
        $this->route = $configuration->route;
        $this->retries = new Retries($retries, $clock);
        $this->policy = $retries;
        $this->pinned = array_map(
            static fn (PeerId|string $peer): PeerId => $peer instanceof PeerId
                ? $peer : Cid::parsePeer(trim($peer)),
            $pinned,
        );
    }

    public function submit(mixed $module, array|Manifest $options = [], array $input = []): string
    {
        return (string) $this->submitJob($this->job($module, $options, $input), $this->deadline(null));
    }

    /**
     * Return the handle of the job that a node accepted last, also if what came after it failed; null if none did.
     *
     * With it a job is found again that `run()` handed in and did not see the end of.
     */
    public function accepted(): ?string
    {
        return $this->accepted;
    }

    public function status(#[\SensitiveParameter] string $jobId): JobStatus
    {
        return $this->ask($jobId, 'status');
    }

    public function wait(#[\SensitiveParameter] string $jobId, ?float $timeout = null, ?callable $changed = null): JobStatus
    {
        $handle = Handle::parse($jobId);
        $changed = $changed === null ? null : $changed(...);

        return $this->retries->run(
            $deadline = $this->deadline($timeout),
            fn (): JobStatus => $this->conversing($handle->peer, $deadline, static fn (ConversationInterface $node)
                => $node->watch($handle->jobId, $handle->token(), $changed)),
        );
    }

    public function result(#[\SensitiveParameter] string $jobId, ?float $timeout = null, ?Manifest $manifest = null): Result
    {
        return $this->required($this->resultOf(Handle::parse($jobId), $this->deadline($timeout), $manifest));
    }

    public function run(mixed $module, array|Manifest $options = [], array $input = [], ?float $timeout = null): Result
    {
        $deadline = $this->deadline($timeout);
        $job = $this->job($module, $options, $input);
        $placement = $this->placement($job);
        if ($placement !== null) {
            return $this->runSomewhere($placement, $job, $deadline);
        }

        return $this->required($this->resultOf($this->submitJob($job, $deadline), $deadline, $job->manifest));
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
    ): VerifiedReceipt {
        $handle = Handle::parse($jobId);
        $output = new Passed($callback(...), $again === null ? null : $again(...));
        $answer = $this->follow($handle, $this->deadline($timeout), $this->limited($output, $handle, null));
        $output->settle();
        [$stdout, $stderr] = array_map($output->digester(...), Channel::OUTPUTS);
        $verified = $this->verify($handle, $answer, null, $stdout, $stderr);
        $this->require($verified->verdict);

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
    private function job(mixed $module, array|Manifest $options, array $input): Job
    {
        if ($module instanceof Job && ($options !== [] || $input !== [])) {
            throw new InvalidArgument('a job has its options by now: give it alone');
        }
        $twice = is_array($options) ? array_keys(array_intersect_key($options, $input)) : [];
        if ($twice !== []) {
            throw new InvalidArgument('given twice: ' . implode(', ', $twice));
        }

        return match (true) {
            $module instanceof Job => $module,
            $options instanceof Manifest => Job::ofManifest($options, $module, ['route' => $this->route, ...$input]),
            default => Job::create($module, ['route' => $this->route, ...$options, ...$input]),
        };
    }

    /** Return how to find a job its node; null if there is nothing to choose. */
    private function placement(Job $job): ?Placement
    {
        return $this->transport instanceof ChoosingTransportInterface
            ? new Placement($this->transport, $job, $this->pinned, $this->policy, $this->clock)
            : null;
    }

    /** Run a job on one node after another, until one of them neither refuses it nor is lost nor fails. */
    private function runSomewhere(Placement $placement, Job $job, Deadline $deadline): Result
    {
        $failed = null;
        while (true) {
            try {
                $handle = $placement->submit($deadline);
                $this->accepted = (string) $handle;
            } catch (ExceptionInterface $exception) {
                return $failed ?? throw $exception;
            }
            $bounds = new Bounds($this->clock, $job->manifest);
            $this->remember($job);
            try {
                $result = $this->resultOf($handle, $deadline, $job->manifest, $this->timeouts->patienceS, $bounds);
                $reason = self::claim($result, $bounds, $handle);
                if ($reason === null && $result->outcome->kind !== OutcomeKind::SystemError) {
                    $placement->withdraw($handle);

                    return $this->required($result);
                }
                if ($reason === null) {
                    $failed = $result;
                }
            } catch (ReceiptRejected | Refused | TransportException $reason) {
                // The next node starts it anew.
            }
            if (!$placement->passOn($reason)) {
                return $failed ?? throw $reason;
            }
        }
    }

    /** Return why a job that has ended by its node's word alone has not ended for this client; null if it has. */
    private static function claim(Result $result, Bounds $bounds, Handle $handle): ?NodeFailed
    {
        $claim = match ($result->outcome->kind) {
            OutcomeKind::Cancelled => 'that the job was cancelled, which this client has not asked for',
            OutcomeKind::TimedOut => $bounds->mayHaveTimedOut() ? null : 'that the job\'s time is over, which it is not',
            default => null,
        };
        if ($claim === null) {
            return null;
        }
        $message = "the node $handle->peer says $claim";
        $file = Evidence::keep($handle->peer, $handle->jobId, $message, $result->envelopeJson);

        return new NodeFailed($message . ($file === null ? '' : " (kept in $file)"));
    }

    /** Return a result of which as much is established as this client requires. */
    private function required(Result $result): Result
    {
        $this->require($result->verdict);

        return $result;
    }

    private function require(Verdict $verdict): void
    {
        if ($this->require === 'known' && $verdict->standing === Standing::Stranger) {
            throw new NotEstablished(
                "known is required, and the receipt is signed by $verdict->signer, {$verdict->standing->value}",
            );
        }
    }

    private function remember(Job $job): void
    {
        unset($this->submitted[$job->id()]);
        $this->submitted[$job->id()] = $job->manifest;
        $this->routes[$job->id()] = $job->route;
        if (count($this->submitted) > self::MAX_REMEMBERED) {
            $oldest = array_key_first($this->submitted);
            unset($this->submitted[$oldest], $this->routes[$oldest]);
        }
    }

    private function submitJob(Job $job, Deadline $deadline): Handle
    {
        $handle = $this->placement($job)?->submit($deadline) ?? $this->submitHere($job, $deadline);
        $this->accepted = (string) $handle;
        $this->remember($job);

        return $handle;
    }

    private function submitHere(Job $job, Deadline $deadline): Handle
    {
        $handle = null;
        $submit = function (ConversationInterface $node) use ($job, &$handle): Handle {
            // Once made, it is kept: only the same token makes a repeated submission the same job.
            $handle ??= Handle::create($job->id(), $node->peer());
            $node->submit($job, $handle->token());
            $this->accepted = (string) $handle;

            return $handle;
        };

        return $this->retries->run(
            $deadline,
            function () use ($deadline, $submit, &$handle): Handle {
                return $this->conversing($handle?->peer, $deadline, $submit);
            },
            knowsDaemon: false,
        );
    }

    private function resultOf(
        Handle $handle,
        Deadline $deadline,
        ?Manifest $manifest,
        ?float $patienceS = null,
        ?Bounds $bounds = null,
    ): Result {
        $output = new Collected();
        $answer = $this->follow($handle, $deadline, $this->limited($output, $handle, $manifest, $bounds), $patienceS);
        [$stdout, $stderr] = array_map($output->spool(...), Channel::OUTPUTS);

        return new Result($this->verify($handle, $answer, $manifest, $stdout, $stderr), $output);
    }

    /** Hold an output to what the job may write, as far as that is known. */
    private function limited(OutputInterface $output, Handle $handle, ?Manifest $manifest, ?Bounds $bounds = null): Limited
    {
        $manifest ??= $this->submitted[$handle->jobId] ?? null;

        return new Limited($output, $manifest?->task->limits->outputBytes, $bounds);
    }

    private function follow(Handle $handle, Deadline $deadline, OutputInterface $output, ?float $patienceS = null): JobAnswer
    {
        return $this->retries->run(
            $deadline,
            fn (): JobAnswer => $this->conversing($handle->peer, $deadline, static fn (ConversationInterface $node)
                => $node->attach($handle->jobId, $handle->token(), $output)),
            patienceS: $patienceS,
        );
    }

    /** Verify that a receipt is the answer to the job, from the node that has it, with this output. */
    private function verify(
        Handle $handle,
        JobAnswer $answer,
        ?Manifest $manifest,
        Digester|Spool $stdout,
        Digester|Spool $stderr,
    ): VerifiedReceipt {
        $isGateway = ($this->routes[$handle->jobId] ?? $this->route) === 'network';
        // Of another node the daemon is believed only about jobs that were sent through it; a pinned key needs no word.
        $isPinned = in_array($answer->ranBy, $this->pinned);
        $node = $isGateway || $isPinned ? $answer->ranBy : $handle->peer;
        try {
            $verified = (new ReceiptVerifier())->verify($answer->envelopeJson, new Expectation(
                trusted: $this->pinned === [] ? [$node] : $this->pinned,
                node: $node,
                jobId: $handle->jobId,
                manifest: $manifest ?? $this->submitted[$handle->jobId] ?? null,
                stdout: $stdout->sha256(),
                stderr: $stderr->sha256(),
                stdoutBytes: $stdout->size(),
                stderrBytes: $stderr->size(),
            ));
            $outcome = $verified->receipt->observed->outcome;
            $told = $answer->status;
            if ($told->state !== $outcome->state() || !in_array($told->outcome, [null, $outcome->kind], true)) {
                throw new ContradictoryReceipt(['the node tells another end of the job than its receipt']);
            }
        } catch (ReceiptRejected $rejected) {
            $file = Evidence::keep($handle->peer, $handle->jobId, $rejected->getMessage(), $answer->envelopeJson);
            throw $file === null ? $rejected : $rejected->withReason("kept in $file");
        }
        $standing = match (true) {
            $this->pinned !== [] => Standing::Named,
            $this->transport instanceof ChoosingTransportInterface, !$node->equals($handle->peer) => Standing::Stranger,
            default => Standing::Own,
        };

        return new VerifiedReceipt($verified->receipt, $verified->verdict->of($standing), $verified->envelopeJson);
    }

    /** @param 'cancel'|'release'|'status' $question */
    private function ask(#[\SensitiveParameter] string $jobId, string $question): JobStatus
    {
        $handle = Handle::parse($jobId);
        $deadline = $this->deadline(null);

        return $this->retries->run(
            $deadline,
            fn (): JobStatus => $this->conversing($handle->peer, $deadline, static fn (ConversationInterface $node)
                => $node->$question($handle->jobId, $handle->token())),
        );
    }

    /**
     * Open a conversation, use it, and close it whatever happens.
     *
     * @template T
     *
     * @param \Closure(ConversationInterface): T $use
     *
     * @return T
     */
    private function conversing(?PeerId $peer, Deadline $deadline, \Closure $use): mixed
    {
        $node = $this->transport->open($peer ?? (count($this->pinned) === 1 ? $this->pinned[0] : null), $deadline);
        try {
            $isPinned = array_filter($this->pinned, static fn (PeerId $pinned): bool => $pinned->equals($node->peer()));
            if ($this->pinned !== [] && $isPinned === []) {
                throw new PeerMismatch("the node that answers is {$node->peer()}, which is not pinned");
            }

            return $use($node);
        } finally {
            $node->close();
        }
    }

    private function deadline(?float $timeout): Deadline
    {
        return new Deadline($this->clock, $timeout ?? $this->timeouts->totalS);
    }
}
