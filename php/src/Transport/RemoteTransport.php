<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\NoNode;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Job;
use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Deadline as Libp2pDeadline;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\TimedOut as Libp2pTimedOut;
use Plasm\Libp2p\Exception\Unreachable as Libp2pUnreachable;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\HostInterface;
use Plasm\Libp2p\PeerInfo;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Remote\CapabilityClass;
use Plasm\Remote\Candidate;
use Plasm\Remote\Directory;
use Plasm\Remote\Failures;
use Plasm\Remote\PeerBook;
use Plasm\Remote\Selection;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Timeouts;

/** Reaches nodes anywhere, found in the DHT, over TCP, Noise and yamux. */
final class RemoteTransport implements ChoosingTransportInterface, RemembersFailuresInterface
{
    private const SEARCH_S = 10.0;
    private const SETTLE_S = 0.5;
    private const ENOUGH = 4;

    /** How many of the nodes that were good before are asked before the DHT is. */
    private const MAX_GROUPS = 1024;
    private const REMEMBERED_AT_ONCE = 8;
    private const REMEMBERED_S = 3.0;
    private const REMEMBERED_SETTLE_S = 0.05;

    private readonly \Closure $watch;
    private readonly Failures $failures;

    /** @var array<string, string|null> the group of each node that was dialled, by PeerId */
    private array $groups = [];

    /**
     * @param bool $publicOnly refuse to dial private addresses
     * @param list<PeerInfo> $bootstrap nodes that are asked themselves if they name nobody
     * @param (\Closure(string, array<string, scalar>): mixed)|null $watch is told what happens
     */
    public function __construct(
        private readonly HostInterface $host,
        private readonly Directory $directory,
        private readonly Connections $connections,
        private readonly PeerBook $book,
        private readonly bool $publicOnly = true,
        private readonly CapabilityClass $class = new CapabilityClass(CapabilityClass::ANY_NODE),
        private readonly Timeouts $timeouts = new Timeouts(),
        private readonly ClockInterface $clock = new SystemClock(),
        ?\Closure $watch = null,
        private readonly array $bootstrap = [],
    ) {
        $this->watch = $watch ?? static fn (string $what, array $facts): mixed => null;
        $this->failures = new Failures($clock);
    }

    public function failed(PeerId $peer, bool $lied): void
    {
        $this->failures->add($peer, $this->groups[(string) $peer] ?? null, $lied);
        if ($lied) {
            $this->book->forget($peer);
        }
    }

    public function open(?PeerId $peer, Deadline $deadline): ConversationInterface
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

    public function choose(Job $job, Deadline $deadline, array $avoid = [], array $among = []): ConversationInterface
    {
        if ($among === []) {
            return $this->any($job, $deadline, $avoid);
        }
        $failure = new NoNode('no other of the nodes that are pinned is left');
        foreach ($among as $peer) {
            try {
                if (!in_array($peer, $avoid)) {
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
    private function any(?Job $job, Deadline $deadline, array $avoid): ConversationInterface
    {
        $good = array_filter(
            array_filter(array_map($this->directory->usable(...), $this->book->all())),
            fn (PeerInfo $info): bool => $this->failures->ofNode($info->peer) <= 0.0,
        );
        $remembered = array_slice(array_values($good), 0, self::REMEMBERED_AT_ONCE);
        if ($remembered !== []) {
            ($this->watch)('asking', ['remembered' => count($remembered)]);
            $selection = $this->selection($job, $avoid);
            $within = self::within($deadline, self::REMEMBERED_S);
            $found = $selection->run($remembered, null, $within, self::ENOUGH, self::REMEMBERED_SETTLE_S);
            $conversation = $this->first($found, $selection, $deadline);
            if ($conversation !== null) {
                return $conversation;
            }
            array_push($avoid, ...array_map(static fn (Candidate $candidate): PeerId => $candidate->info->peer, $found));
        }
        $deadline->check('a node that takes the job');
        $selection = $this->selection($job, $avoid);
        $found = $this->search($selection, $deadline, self::ENOUGH, self::SETTLE_S);
        $conversation = $this->first($found, $selection, $deadline);
        if ($conversation === null) {
            $deadline->check('a node that takes the job');
            throw $selection->failure();
        }

        return $conversation;
    }

    /** @return list<Candidate> */
    private function search(Selection $selection, Deadline $deadline, int $enough, float $settleS): array
    {
        ($this->watch)('searching', ['capability' => $this->class->name]);
        $found = $selection->run([], $this->class, self::within($deadline, self::SEARCH_S), $enough, $settleS);
        if ($found === [] && !$selection->isCutOff()) {
            // One that knows no other is listed nowhere.
            $found = $selection->run($this->bootstrap, null, $this->connecting($deadline), $enough, 0.0);
        }

        return array_values(array_filter($found, static fn (Candidate $candidate): bool => $candidate->record->lends));
    }

    /** @param list<Candidate> $candidates */
    private function first(array $candidates, Selection $selection, Deadline $deadline): ?ConversationInterface
    {
        foreach ($candidates as $candidate) {
            $name = (string) $candidate->info->peer;
            unset($this->groups[$name]);
            // Where it answered: the other addresses may be another's, who would share the blame.
            $answered = new PeerInfo($candidate->info->peer, [$candidate->address]);
            $this->groups[$name] = $this->directory->group($answered);
            $this->groups = array_slice($this->groups, -self::MAX_GROUPS, null, true);
        }
        $rank = fn (Candidate $candidate): array => [
            $this->failures->of($candidate->info->peer, $this->groups[(string) $candidate->info->peer] ?? null),
            $candidate->cost(),
        ];
        usort($candidates, static fn (Candidate $a, Candidate $b): int => $rank($a) <=> $rank($b));
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

    /** Go on with a connection from before, if there is one and it still lives. */
    private function reuse(PeerId $peer, Deadline $deadline): ?ConversationInterface
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

    /** Dial a node where it was last, or else where the DHT says it is. */
    private function reach(PeerId $peer, Deadline $deadline): ConversationInterface
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
        $info = $this->directory->locate($peer, self::within($deadline, self::SEARCH_S));
        if ($info === null) {
            throw $failure ?? new Unreachable(
                "nobody knows where the node $peer is",
                'it may be down; its handle stays good for when it is back',
            );
        }

        try {
            return $this->dial($info, $deadline);
        } catch (Libp2pException $failure) {
            // What others say of it may be false. The node's own word is in a class of its own.
            $own = $this->directory->listed($peer, self::within($deadline, self::SEARCH_S));
            $isKnown = $own === null || array_diff($own->addresses, $info->addresses) === [];

            return $isKnown ? throw $failure : $this->dial($own, $deadline);
        }
    }

    private function dial(PeerInfo $info, Deadline $deadline): ConversationInterface
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
    ): ConversationInterface {
        $peer = $connection->remotePeer();
        $stream = new Libp2pStream(
            $peer,
            $connection->openStream(JobStream::PROTOCOL, $this->connecting($deadline)),
            $this->host->loop(),
        );
        $conversation = JobStream::open(
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
    private function selection(?Job $job, array $avoid): Selection
    {
        return new Selection(
            $this->directory,
            $this->connections,
            $this->book,
            $this->publicOnly,
            $this->host->loop(),
            $this->watch,
            $job,
            $avoid,
        );
    }

    private function connection(PeerInfo $info, Deadline $deadline): ConnectionInterface
    {
        return $this->connections->to($info, $this->connecting($deadline), $this->publicOnly);
    }

    private function connecting(Deadline $deadline): Libp2pDeadline
    {
        return self::within($deadline, $this->timeouts->connectS);
    }

    private function explained(Libp2pException $exception, PeerId $peer, Deadline $deadline): TransportException
    {
        $deadline->check("a connection to $peer");
        $causes = $exception instanceof Libp2pUnreachable ? array_values($exception->causes) : [$exception];
        $wrong = array_filter($causes, static fn (Libp2pException $cause): bool => $cause instanceof WrongPeer);
        if ($wrong !== [] && count($wrong) === count($causes)) {
            return new PeerMismatch("where the node $peer should be is another: {$causes[0]->getMessage()}", null, $exception);
        }
        if ($exception instanceof Libp2pTimedOut) {
            return new TimedOut($exception->waitedFor, $this->timeouts->connectS, 'connect');
        }

        return new Unreachable("cannot reach the node $peer: {$exception->getMessage()}", null, $exception);
    }

    private static function within(Deadline $deadline, float $seconds): Libp2pDeadline
    {
        return Libp2pDeadline::after(min($deadline->remaining(), $seconds));
    }
}
