<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\HostInterface;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/**
 * Asks a Kademlia table without being part of it.
 *
 * Source: libp2p specification, kad-dht, "Peer routing" and "Content provider routing", client mode.
 */
final class Client implements ClientInterface
{
    private const MAX_ANSWER_BYTES = 256 * 1024;

    /** Enough reports of one peer, each from another network. */
    private const WITNESSES = 3;

    /** How many peers one peer may report at once; the rest follow when all peers have answered. */
    private const MAX_AT_ONCE = 4;

    /** @var list<PeerInfo> */
    public readonly array $bootstrap;

    private readonly Connections $connections;
    private readonly HearsayScope $scope;

    /**
     * @param list<Multiaddr> $bootstrap nodes to begin with, each ending in a PeerId
     * @param int $alpha how many peers are asked at once
     * @param int $breadth how many of the nearest peers must have answered at the end (Kademlia's k)
     * @param float $patienceS how long one node may take, from dialling to its answer
     * @param int $maxQueries end a lookup after this many queries
     * @param bool $dialPrivate whether to dial private and loopback addresses that peers report
     * @param Connections|null $connections null for new ones
     * @param HearsayScope|null $scope the reported addresses to dial, instead of $dialPrivate
     */
    public function __construct(
        private readonly HostInterface $host,
        array $bootstrap,
        private readonly string $protocol = '/phase/kad/1.0.0',
        private readonly int $alpha = 3,
        private readonly int $breadth = 20,
        private readonly float $patienceS = 3.0,
        private readonly int $maxQueries = 128,
        bool $dialPrivate = false,
        ?Connections $connections = null,
        ?HearsayScope $scope = null,
    ) {
        $this->scope = $scope ?? ($dialPrivate ? HearsayScope::laboratory() : new HearsayScope());
        $this->connections = $connections ?? new Connections($host);
        $nodes = [];
        foreach ($bootstrap as $address) {
            $peer = $address->peer()
                ?? throw new UnsupportedAddress("the bootstrap address $address names no peer");
            $known = $nodes[(string) $peer] ?? new PeerInfo($peer, []);
            $nodes[(string) $peer] = new PeerInfo($peer, [...$known->addresses, $address]);
        }
        $this->bootstrap = array_values($nodes);
    }

    public function findProviders(string $key, Deadline $deadline, int $limit = 20): iterable
    {
        $found = $later = $atOnce = [];
        try {
            foreach ($this->lookup(new Message(MessageType::GetProviders, $key), $deadline) as [$node, $answer]) {
                $teller = self::nameOf($node);
                foreach ($answer->providers as $provider) {
                    $name = (string) $provider->peer;
                    $isNew = !isset($found[$name]);
                    $addresses = $found[$name] ?? new Addresses();
                    $before = $addresses->all();
                    $addresses->add($teller, $provider->addresses);
                    if (array_diff(array_map(strval(...), $addresses->all()), array_map(strval(...), $before)) === []) {
                        continue;
                    }
                    if ($isNew && ($atOnce[$teller] ?? 0) >= self::MAX_AT_ONCE) {
                        $later[$teller][$name] ??= $provider;
                        continue;
                    }
                    unset($later[$teller][$name]);
                    $atOnce[$teller] = ($atOnce[$teller] ?? 0) + (int) $isNew;
                    $found[$name] = $addresses;
                    yield new PeerInfo($provider->peer, $addresses->all());
                    if (count($found) >= $limit) {
                        return;
                    }
                }
            }
            while (($later = array_filter($later)) !== []) {
                foreach (array_keys($later) as $teller) {
                    $provider = array_shift($later[$teller]);
                    if ($provider !== null && !isset($found[(string) $provider->peer])) {
                        $found[(string) $provider->peer] = new Addresses();
                        yield $provider;
                        if (count($found) >= $limit) {
                            return;
                        }
                    }
                }
            }
        } catch (DeadlinePassed $exception) {
            if ($found === []) {
                throw $exception;
            }
        }
    }

    public function findPeer(PeerId $peer, Deadline $deadline): ?PeerInfo
    {
        $addresses = new Addresses();
        try {
            $request = new Message(MessageType::FindNode, $peer->multihash());
            foreach ($this->lookup($request, $deadline, $peer) as [$node, $answer]) {
                foreach ($answer->closer as $info) {
                    if ($info->peer->equals($peer)) {
                        $addresses->add(self::nameOf($node), $info->addresses);
                    }
                }
                if (count($addresses->tellers()) >= self::WITNESSES) {
                    break;
                }
            }
        } catch (DeadlinePassed | PeerUnreachable $exception) {
            if ($addresses->all() === []) {
                throw $exception;
            }
        }

        return $addresses->all() === [] ? null : new PeerInfo($peer, $addresses->all());
    }

    public function close(): void
    {
        $this->connections->close();
    }

    /**
     * Ask nearer and nearer nodes, several at once, and yield each answer as it arrives.
     *
     * @param PeerId|null $sought not asked itself
     *
     * @return \Generator<int, array{PeerInfo, Message}> the peer and its answer
     *
     * @throws PeerUnreachable if no node answered
     * @throws DeadlinePassed
     */
    private function lookup(Message $request, Deadline $deadline, ?PeerId $sought = null): \Generator
    {
        $candidates = new Candidates($request->key, $this->breadth);
        $never = [$this->host->peer(), ...($sought === null ? [] : [$sought])];
        foreach ($this->bootstrap as $node) {
            $candidates->add($node);
        }
        /** @var TaskGroup<array{PeerInfo, Message}> $queries */
        $queries = new TaskGroup($this->host->loop());
        $answers = 0;
        $asked = $causes = [];
        try {
            while (true) {
                while ($queries->count() < $this->alpha && $candidates->asked() < $this->maxQueries) {
                    $node = $candidates->next();
                    if ($node === null) {
                        break;
                    }
                    $asked[(string) $node->peer] = $node;
                    $queries->start((string) $node->peer, fn (): array => [$node, $this->ask($node, $request, $deadline)]);
                }
                if ($queries->count() === 0) {
                    break;
                }
                [$name, $outcome, $error] = $queries->next($deadline, 'nodes of the DHT');
                if ($outcome === null) {
                    $candidates->failed($asked[$name]);
                    $causes[$name] = $error instanceof Libp2pException ? $error : throw $error ?? new \LogicException();
                    continue;
                }
                [$node, $answer] = $outcome;
                $answers++;
                $candidates->answered($node);
                foreach (array_map($this->scope->usable(...), $answer->closer) as $info) {
                    if ($info->addresses !== [] && !in_array($info->peer, $never)) {
                        $candidates->add($info, $node);
                    }
                }
                yield $outcome;
            }
        } finally {
            $queries->cancel();
        }
        if ($answers === 0) {
            throw new PeerUnreachable('no node of the DHT answered', $causes);
        }
    }

    /** @throws Libp2pException */
    private function ask(PeerInfo $node, Message $request, Deadline $lookup): Message
    {
        $deadline = $lookup->within($this->patienceS);
        // A bootstrap node is dialled at the addresses that the user gave, not at those that peers report.
        foreach ($this->bootstrap as $given) {
            $node = $given->peer->equals($node->peer) ? $given : $node;
        }
        $publicOnly = $this->scope->ranges === [] && !in_array($node, $this->bootstrap, true);

        return $this->connections->use(
            $node,
            $deadline,
            $publicOnly,
            fn (ConnectionInterface $connection): Message => $this->answer($connection, $request, $deadline),
        );
    }

    private function answer(ConnectionInterface $connection, Message $request, Deadline $deadline): Message
    {
        $stream = $connection->openStream($this->protocol, $deadline, Framing::frame($request->encode()));
        try {
            // Not closed before the answer: some nodes reset a stream of which one direction has ended.
            $answer = Message::decode(Framing::readMessage($stream, self::MAX_ANSWER_BYTES, $deadline));
        } catch (\Throwable $exception) {
            $stream->reset();
            throw $exception;
        }
        $stream->close();
        if ($answer->type !== $request->type) {
            throw new ProtocolViolation('a node of the DHT answers what it was not asked');
        }

        return $answer;
    }

    /**
     * Return the name that a peer's reports are counted under: its network, or its own name if it has no public
     * address.
     */
    private static function nameOf(PeerInfo $node): string
    {
        return HearsayScope::groups($node)[0] ?? (string) $node->peer;
    }
}
