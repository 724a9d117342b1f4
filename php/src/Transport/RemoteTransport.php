<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NoNode;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\HostInterface;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\PeerInfo;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Remote\Candidate;
use Plasm\Remote\Directory;
use Plasm\Remote\Failures;
use Plasm\Remote\NodeClass;
use Plasm\Remote\PeerBook;
use Plasm\Remote\Ranking;
use Plasm\Remote\Selection;
use Plasm\Submission;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Timeouts;
use Plasm\Verifier\NodeHistory;

/** Reaches nodes anywhere, found in the DHT, over TCP, Noise and yamux. */
final class RemoteTransport implements SeparatesJobsInterface, RemembersFailuresInterface
{
    private const SEARCH_S = 10.0;
    private const SETTLE_S = 0.5;
    private const ENOUGH = 4;

    /** The same for a job that a node has failed: the nodes that answer first may all belong to one operator. */
    private const SETTLE_AFTER_FAILURE_S = 2.0;
    private const ENOUGH_AFTER_FAILURE = 16;

    /** How many searches one attempt makes at most, of which each found only nodes that failed at once. */
    private const MOST_SEARCHES = 4;

    private const MAX_GROUPS = 1024;

    /** How many of the nodes that were good before are asked before the DHT is. */
    private const REMEMBERED_AT_ONCE = 8;
    private const REMEMBERED_S = 3.0;
    private const REMEMBERED_SETTLE_S = 0.05;

    private readonly \Closure $watch;
    private Failures $failures;

    /** @var array<string, string|null> the network of each node that was dialled, by PeerId */
    private array $networks = [];

    /** @var list<string> networks of which no node is chosen */
    private array $avoided = [];

    private Ranking $ranking;
    private readonly \Closure $draw;

    /** @var array<string, string|null> the group of each node that was dialled, by PeerId */
    private array $groups = [];

    /**
     * @param bool $publicOnly refuse to dial private addresses
     * @param list<PeerInfo> $bootstrap nodes that are used themselves if they report no others
     * @param (\Closure(string, array<string, scalar>): mixed)|null $watch is called with each event
     * @param (\Closure(): self)|null $again creates a transport like this one with a fresh identity
     * @param (\Closure(): float)|null $draw returns a number from 0 to 1; null for the system's randomness
     */
    public function __construct(
        private readonly HostInterface $host,
        private readonly Directory $directory,
        private readonly Connections $connections,
        private readonly PeerBook $book,
        private readonly bool $publicOnly = true,
        private readonly NodeClass $class = new NodeClass(NodeClass::ANY_NODE),
        private readonly Timeouts $timeouts = new Timeouts(),
        private readonly ClockInterface $clock = new SystemClock(),
        ?\Closure $watch = null,
        private readonly array $bootstrap = [],
        private readonly ?\Closure $again = null,
        ?\Closure $draw = null,
    ) {
        $this->draw = $draw ?? static fn (): float => random_int(0, (1 << 53) - 1) / (1 << 53);
        $this->watch = $watch ?? static fn (string $what, array $facts): mixed => null;
        $this->failures = new Failures($clock);
        $this->known([]);
    }

    public function failed(PeerId $peer, bool $lied): void
    {
        $this->failures->add($peer, $this->groups[(string) $peer] ?? null, $lied);
        if ($lied) {
            $this->book->forget($peer);
        }
    }

    public function network(PeerId $peer): ?string
    {
        return $this->networks[(string) $peer] ?? null;
    }

    public function separate(array $networks): self
    {
        if ($this->again === null) {
            throw new InvalidArgument('this transport was made without a way to make another');
        }
        $other = ($this->again)();
        $other->failures = $this->failures;
        $other->avoided = $networks;
        $other->ranking = $this->ranking;

        return $other;
    }

    public function known(array $histories): void
    {
        $this->ranking = new Ranking($this->failures, $histories, $this->draw);
    }

    public function open(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        if ($peer === null) {
            return $this->any(null, $deadline, []);
        }
        try {
            return $this->reuse($peer, $deadline) ?? $this->reach($peer, $deadline);
        } catch (Libp2pException $exception) {
            throw $this->explained($exception, $peer, $deadline);
        }
    }

    public function choose(Submission $job, Deadline $deadline, array $avoid = [], array $among = []): SessionInterface
    {
        if ($among === []) {
            return $this->any($job, $deadline, $avoid);
        }
        $failure = new NoNode('no other of the nodes that are pinned is left');
        foreach ($among as $peer) {
            try {
                if (!in_array($peer, $avoid)) {
                    if (in_array($peer, $this->ranking->convicted())) {
                        ($this->watch)('convicted', ['peer' => (string) $peer]);
                    }

                    return $this->open($peer, $deadline);
                }
            } catch (Unreachable | TimedOut $exception) {
                $deadline->check("an answer of $peer");
                $failure = new NoNode($exception->getMessage(), null, $exception);
            }
        }
        throw $failure;
    }

    public function discover(Deadline $deadline): array
    {
        $selection = $this->selection(null, []);
        $found = $this->search($selection, $deadline, PHP_INT_MAX, self::SEARCH_S);
        $deadline->check('nodes to answer');
        if ($found === [] && $selection->isCutOff()) {
            throw $selection->failure();
        }

        return array_map(static fn (Candidate $candidate): Node => new Node(
            $candidate->info->peer,
            $candidate->record->agent,
            (string) $candidate->address,
            $candidate->record,
        ), $found);
    }

    /**
     * Begin a conversation with the best of the nodes that answer: those that were good before, or else new ones.
     *
     * @param list<PeerId> $avoid
     */
    private function any(?Submission $job, Deadline $deadline, array $avoid): SessionInterface
    {
        $hasFailed = $avoid !== [];
        $good = array_filter(
            array_filter(array_map($this->directory->usable(...), $this->book->all())),
            fn (PeerInfo $info): bool => $this->failures->of($info->peer, $this->directory->group($info)) <= 0.0,
        );
        $remembered = array_slice(array_values($good), 0, self::REMEMBERED_AT_ONCE);
        if ($remembered !== [] && !$hasFailed) {
            ($this->watch)('asking', ['remembered' => count($remembered)]);
            $selection = $this->selection($job, $avoid);
            $within = $deadline->within(self::REMEMBERED_S);
            // One job every five minutes waits half a second for nodes that have joined, which later jobs remember.
            $found = $this->book->isSearchDue()
                ? $this->lending($selection, $remembered, $within, self::ENOUGH_AFTER_FAILURE, self::SETTLE_S)
                : $selection->run($remembered, null, $within, self::ENOUGH, self::REMEMBERED_SETTLE_S);
            $conversation = $this->first($found, $selection, $deadline, $hasFailed);
            if ($conversation !== null) {
                return $conversation;
            }
            array_push($avoid, ...array_map(static fn (Candidate $candidate): PeerId => $candidate->info->peer, $found));
        }
        $failure = null;
        $rounds = 0;
        do {
            $deadline->check('a node that takes the job');
            $selection = $this->selection($job, $avoid);
            $found = $hasFailed
                ? $this->search($selection, $deadline, self::ENOUGH_AFTER_FAILURE, self::SETTLE_AFTER_FAILURE_S, $remembered)
                : $this->search($selection, $deadline, self::ENOUGH, self::SETTLE_S);
            $conversation = $this->first($found, $selection, $deadline, $hasFailed);
            if ($conversation !== null) {
                return $conversation;
            }
            $deadline->check('a node that takes the job');
            $failure = $found === [] ? ($failure ?? $selection->failure()) : $selection->failure();
            $hasFailed = true;
            array_push($avoid, ...array_map(static fn (Candidate $candidate): PeerId => $candidate->info->peer, $found));
        } while ($found !== [] && ++$rounds < self::MOST_SEARCHES);
        throw $failure;
    }

    /**
     * @param list<PeerInfo> $remembered nodes that are asked as well
     *
     * @return list<Candidate>
     */
    private function search(
        Selection $selection,
        Deadline $deadline,
        int $enough,
        float $settleS,
        array $remembered = [],
    ): array {
        $found = $this->lending($selection, $remembered, $deadline->within(self::SEARCH_S), $enough, $settleS);
        if ($found === [] && !$selection->isCutOff()) {
            // A node that knows no other node is listed nowhere.
            $found = self::lenders($selection->run($this->bootstrap, null, $this->connecting($deadline), $enough, 0.0));
        }

        return $found;
    }

    /**
     * Look for nodes of the class in the DHT, and ask those that are remembered as well.
     *
     * @param list<PeerInfo> $remembered
     *
     * @return list<Candidate>
     */
    private function lending(Selection $selection, array $remembered, Deadline $within, int $enough, float $settleS): array
    {
        ($this->watch)('searching', ['class' => $this->class->name]);
        $this->book->searching();

        return self::lenders($selection->run($remembered, $this->class, $within, $enough, $settleS));
    }

    /**
     * @param list<Candidate> $found
     *
     * @return list<Candidate>
     */
    private static function lenders(array $found): array
    {
        return array_values(array_filter($found, static fn (Candidate $candidate): bool => $candidate->record->lends));
    }

    /**
     * @param list<Candidate> $candidates
     * @param bool $anyOrder whether equally good nodes are ordered at random, so that claims to be near, idle and
     *     large have no effect
     */
    private function first(
        array $candidates,
        Selection $selection,
        Deadline $deadline,
        bool $anyOrder,
    ): ?SessionInterface {
        foreach ($candidates as $candidate) {
            $name = (string) $candidate->info->peer;
            unset($this->groups[$name]);
            // Only the address that answered: the others may belong to other nodes, which must not be blamed.
            $answered = new PeerInfo($candidate->info->peer, [$candidate->address]);
            $this->groups[$name] = $this->directory->group($answered);
            $this->groups = array_slice($this->groups, -self::MAX_GROUPS, null, true);
            unset($this->networks[$name]);
            $this->networks[$name] = HearsayScope::networkOf($candidate->address);
            $this->networks = array_slice($this->networks, -self::MAX_GROUPS, null, true);
        }
        $candidates = $anyOrder
            ? $this->ranking->inRandomOrder($candidates, $this->groups)
            : $this->ranking->order($candidates, $this->groups);
        foreach ($candidates as $candidate) {
            $peer = $candidate->info->peer;
            try {
                return $this->converse($this->connection($candidate->info, $deadline), $deadline, true);
            } catch (Libp2pException | TransportException $exception) {
                $this->connections->drop($peer);
                $this->book->forget($peer);
                $this->failures->add($peer, $this->groups[(string) $peer] ?? null, false);
                $selection->reject($peer, $exception->getMessage());
                $deadline->check('a node that takes the job');
            }
        }

        return null;
    }

    /** Use an earlier connection, if there is one and it is alive. */
    private function reuse(PeerId $peer, Deadline $deadline): ?SessionInterface
    {
        $this->host->loop()->poll();
        $connection = $this->connections->kept($peer);
        try {
            return $connection === null ? null : $this->converse($connection, $deadline);
        } catch (Libp2pException | TransportException) {
            $this->connections->drop($peer);
            $deadline->check("an answer of $peer");

            return null;
        }
    }

    /** Dial a node at its last address, or else at the addresses in the DHT. */
    private function reach(PeerId $peer, Deadline $deadline): SessionInterface
    {
        $addresses = $this->directory->usable(new PeerInfo($peer, $this->book->addresses($peer)))->addresses ?? [];
        foreach ($this->bootstrap as $node) {
            $addresses = $node->peer->equals($peer) ? [...$addresses, ...$node->addresses] : $addresses;
        }
        $failure = null;
        if ($addresses !== []) {
            try {
                return $this->dial(new PeerInfo($peer, $addresses), $deadline);
            } catch (Libp2pException $failure) {
                $this->book->forget($peer);
            }
        }
        ($this->watch)('locating', ['peer' => (string) $peer]);
        $info = $this->directory->locate($peer, $deadline->within(self::SEARCH_S));
        if ($info === null) {
            throw $failure ?? new Unreachable(
                "no address of the node $peer is known",
                'it may be down; its handle stays valid until it is back',
            );
        }

        try {
            return $this->dial($info, $deadline);
        } catch (Libp2pException $failure) {
            // Reports of other peers may be false. The node lists itself under a node class of its own.
            $own = $this->directory->listed($peer, $deadline->within(self::SEARCH_S));
            $isKnown = $own === null || array_diff($own->addresses, $info->addresses) === [];

            return $isKnown ? throw $failure : $this->dial($own, $deadline);
        }
    }

    private function dial(PeerInfo $info, Deadline $deadline): SessionInterface
    {
        $connection = $this->connection($info, $deadline);
        $conversation = $this->converse($connection, $deadline);
        $this->book->remember($info, $connection->remoteAddress());

        return $conversation;
    }

    private function converse(
        ConnectionInterface $connection,
        Deadline $deadline,
        bool $isReplaceable = false,
    ): SessionInterface {
        $peer = $connection->remotePeer();
        $stream = new Libp2pStream(
            $peer,
            $connection->openStream(Session::PROTOCOL, $this->connecting($deadline)),
            $this->host->loop(),
        );
        $conversation = Session::open(
            $stream,
            $peer,
            $deadline,
            $this->timeouts,
            $this->clock,
            $this->watch,
            $isReplaceable,
        );
        ($this->watch)('connected', ['peer' => (string) $peer, 'address' => (string) $connection->remoteAddress()]);

        return $conversation;
    }

    /** @param list<PeerId> $avoid */
    private function selection(?Submission $job, array $avoid): Selection
    {
        return new Selection(
            $this->directory,
            $this->connections,
            $this->book,
            $this->publicOnly,
            $this->host->loop(),
            $this->watch,
            $job,
            [...$avoid, ...$this->ranking->convicted()],
            $this->class,
            fn (PeerId $peer): bool => $this->failures->ofNode($peer) > 0.0,
            $this->avoided,
        );
    }

    /** The loop on which several tasks may use this transport concurrently. */
    public function loop(): Loop
    {
        return $this->host->loop();
    }

    private function connection(PeerInfo $info, Deadline $deadline): ConnectionInterface
    {
        return $this->connections->to($info, $this->connecting($deadline), $this->publicOnly);
    }

    private function connecting(Deadline $deadline): Deadline
    {
        return $deadline->within($this->timeouts->connectS);
    }

    private function explained(Libp2pException $exception, PeerId $peer, Deadline $deadline): TransportException
    {
        $deadline->check("a connection to $peer");
        $causes = $exception instanceof PeerUnreachable ? array_values($exception->causes) : [$exception];
        $wrong = array_filter($causes, static fn (Libp2pException $cause): bool => $cause instanceof WrongPeer);
        if ($wrong !== [] && count($wrong) === count($causes)) {
            return new PeerMismatch("where the node $peer should be, another one answers: {$causes[0]->getMessage()}", null, $exception);
        }
        if ($exception instanceof DeadlinePassed) {
            return new TimedOut($exception->waitedFor, $this->timeouts->connectS, 'connect');
        }

        return new Unreachable("cannot reach the node $peer: {$exception->getMessage()}", null, $exception);
    }
}
