<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\NoNode;
use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Submission;
use Plasm\Time\Deadline;

/**
 * One search for nodes: asks the nodes found for their capability records, several at once, and drops those that do
 * not answer.
 */
final class Selection
{
    private const MAX_FOUND = 64;
    private const PROBES_AT_ONCE = 8;
    private const PROBE_S = 5.0;

    /** A probe that takes longer makes room for another: addresses that are made up often lead to silence. */
    private const SLOW_S = 0.7;
    private const MOST_PROBES = 48;
    private const MAX_TOLD = 5;
    private const MAX_ADDRESSES = 16;

    /** @var TaskGroup<mixed> */
    private readonly TaskGroup $tasks;

    /** @var array<string, true> by PeerId: nodes that must not be asked */
    private array $avoided = [];

    /** @var array<string, array<string, true>> by PeerId: the addresses that are tried, or were */
    private array $known = [];

    /** @var array<string, int> by PeerId: how many probes are under way or wait */
    private array $probes = [];

    /** @var list<PeerInfo> */
    private array $waiting = [];

    private int $started = 0;

    /** @var array<string, float> when each probe that is under way began, by its task */
    private array $probing = [];

    /** @var list<Candidate> */
    private array $candidates = [];

    /** How many of them have not failed of late. */
    private int $good = 0;

    /** @var array<string, string> the missing requirement of each node that answered, by PeerId */
    private array $lacking = [];

    /** @var array<string, string> why each of those is of no use that did not, by PeerId */
    private array $problems = [];

    private ?string $directoryProblem = null;

    /**
     * @param bool $publicOnly refuse to dial private addresses
     * @param Submission|null $job the job that a node must accept; null for any node
     * @param list<PeerId> $avoid
     * @param \Closure(string, array<string, scalar>): mixed $watch is told of each node
     * @param NodeClass $class the class that a node must have, also one that the user names
     * @param list<string> $networks networks that no node may be in
     */
    public function __construct(
        private readonly Directory $directory,
        private readonly Connections $connections,
        private readonly PeerBook $book,
        private readonly bool $publicOnly,
        Loop $loop,
        private readonly \Closure $watch,
        private readonly ?Submission $job,
        array $avoid,
        private readonly NodeClass $class,
        private readonly \Closure $hasFailed,
        private readonly array $networks = [],
    ) {
        $this->tasks = new TaskGroup($loop);
        foreach ($avoid as $peer) {
            $this->avoided[(string) $peer] = true;
        }
    }

    /**
     * Ask nodes, and search for others of a class, until there are enough or `$settleS` have passed since the first.
     *
     * A node with failures does not count; it is used if no better one is found.
     *
     * @param list<PeerInfo> $infos
     * @param float $settleS how long to look for better nodes once there is one
     *
     * @return list<Candidate> the best first
     */
    public function run(array $infos, ?NodeClass $class, Deadline $deadline, int $enough, float $settleS): array
    {
        array_map($this->consider(...), $infos);
        if ($class !== null) {
            $this->directory->search($class, $this->tasks, $deadline, self::MAX_FOUND, $this->consider(...));
        }
        $until = $deadline;
        try {
            while ($this->tasks->count() > 0 && $this->good < $enough) {
                try {
                    [$key, $candidate, $error] = $this->tasks->next(
                        $this->waiting === [] ? $until : $until->within(self::SLOW_S),
                        'nodes to answer',
                    );
                } catch (DeadlinePassed $exception) {
                    if ($until->hasPassed()) {
                        throw $exception;
                    }
                    $this->probeNext();
                    continue;
                }
                $isFirst = $this->good === 0;
                $this->note($key, $candidate, $error);
                if ($isFirst && $this->good > 0) {
                    $until = $deadline->within($settleS);
                }
            }
        } catch (DeadlinePassed) {
            // Choose among the nodes that have answered by now.
        } finally {
            $this->tasks->cancel();
        }
        usort($this->candidates, static fn (Candidate $a, Candidate $b): int => $a->cost() <=> $b->cost());

        return $this->candidates;
    }

    /** Tell whether the DHT did not answer, so that no node could be found. */
    public function isCutOff(): bool
    {
        return $this->directoryProblem !== null;
    }

    /** Note that a node that seemed to be right was not. */
    public function reject(PeerId $peer, string $problem): void
    {
        $this->problems[(string) $peer] = $problem;
        ($this->watch)('lost', ['peer' => (string) $peer, 'reason' => $problem]);
    }

    /** Return the error for the case that no node is suitable. */
    public function failure(): NoNode
    {
        $problems = $this->lacking + $this->problems;
        if ($problems === []) {
            return $this->directoryProblem === null
                ? new NoNode('no node was found')
                : new NoNode("no node was found: $this->directoryProblem", 'is the address of the bootstrap node right?');
        }
        $told = [];
        foreach (array_slice($problems, 0, self::MAX_TOLD) as $peer => $problem) {
            $told[] = "$peer: $problem";
        }
        $more = count($problems) - count($told);

        return new NoNode('no node was found that can be used: ' . implode('; ', $told) . ($more > 0 ? "; and $more more" : ''));
    }

    /** Ask a node; again if it failed or did not answer at earlier addresses. */
    private function consider(PeerInfo $info): void
    {
        $name = (string) $info->peer;
        $tried = $this->known[$name] ?? [];
        if (isset($this->avoided[$name]) || count($tried) >= self::MAX_ADDRESSES || $this->hasAnswered($name)) {
            return;
        }
        // Try the last known address together with the reported ones: the node is forgotten only if none of them works.
        $addresses = [];
        foreach ([...$this->book->addresses($info->peer), ...$info->addresses] as $address) {
            if (!isset($tried[(string) $address]) && count($tried) + count($addresses) < self::MAX_ADDRESSES) {
                $addresses[(string) $address] = $address;
            }
        }
        if ($addresses !== []) {
            $this->known[$name] = $tried + array_fill_keys(array_keys($addresses), true);
            $this->probes[$name] = ($this->probes[$name] ?? 0) + 1;
            $this->waiting[] = new PeerInfo($info->peer, array_values($addresses));
            $this->probeNext();
        }
    }

    private function hasAnswered(string $name): bool
    {
        return isset($this->lacking[$name]) || array_filter(
            $this->candidates,
            static fn (Candidate $candidate): bool => (string) $candidate->info->peer === $name,
        ) !== [];
    }

    private function probeNext(): void
    {
        $since = hrtime(true) / 1e9 - self::SLOW_S;
        $quick = count(array_filter($this->probing, static fn (float $began): bool => $began > $since));
        while ($quick < self::PROBES_AT_ONCE && count($this->probing) < self::MOST_PROBES) {
            $info = array_shift($this->waiting);
            if ($info === null) {
                return;
            }
            $quick++;
            $task = $info->peer . ' ' . ++$this->started;
            $this->probing[$task] = hrtime(true) / 1e9;
            $this->tasks->start($task, fn (): Candidate => $this->probe($info));
        }
    }

    private function probe(PeerInfo $info): Candidate
    {
        $deadline = Deadline::after(self::PROBE_S);
        $began = hrtime(true);
        $ask = static fn (ConnectionInterface $connection): array
            => [$connection->remoteAddress(), Inquiry::ask($connection, $deadline)];
        [$address, $record] = $this->connections->use($info, $deadline, $this->publicOnly, $ask);

        return new Candidate($info, $address, $record, (hrtime(true) - $began) / 1e9);
    }

    private function note(string $key, mixed $candidate, ?\Throwable $error): void
    {
        if ($error !== null && !$error instanceof ExceptionInterface) {
            throw $error;
        }
        $name = explode(' ', $key)[0];
        $isNode = isset($this->known[$name]);
        if ($isNode) {
            unset($this->probing[$key]);
            $this->probes[$name]--;
            $this->probeNext();
        }
        if ($candidate instanceof Candidate) {
            if (!$this->hasAnswered($name)) {
                unset($this->problems[$name]);
                $this->take($candidate);
            }
        } elseif ($error !== null && $isNode) {
            // A node may have several reported addresses. It is lost only if none of them works.
            if ($this->probes[$name] === 0 && !$this->hasAnswered($name)) {
                $peer = PeerId::parse($name);
                $this->book->forget($peer);
                $this->reject($peer, $error->getMessage());
            }
        } elseif ($error !== null) {
            $this->directoryProblem = $error->getMessage();
        }
    }

    private function take(Candidate $candidate): void
    {
        $peer = $candidate->info->peer;
        $lacking = match (true) {
            in_array(HearsayScope::networkOf($candidate->address), $this->networks, true) => 'its network has the job',
            !in_array($this->class->name, $candidate->record->classes(), true) => "it is not of the class {$this->class->name}",
            default => $this->job === null ? null : $candidate->record->lacks(
                $this->job->manifest,
                $this->job->module->size(),
                $this->job->stdin->size(),
                $this->job->files?->size() ?? 0,
            ),
        };
        if ($lacking !== null) {
            $this->lacking[(string) $peer] = $lacking;
            ($this->watch)('passed over', ['peer' => (string) $peer, 'reason' => $lacking]);

            return;
        }
        if ($candidate->record->lends) {
            $this->book->remember($candidate->info, $candidate->address);
        }
        $this->candidates[] = $candidate;
        $this->good += ($this->hasFailed)($peer) ? 0 : 1;
        ($this->watch)('found', [
            'peer' => (string) $peer,
            'address' => (string) $candidate->address,
            'latency_s' => $candidate->latencyS,
        ]);
    }
}
