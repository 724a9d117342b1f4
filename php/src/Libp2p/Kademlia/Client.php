<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Deadline;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\TimedOut;
use Plasm\Libp2p\Exception\Unreachable;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\HostInterface;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;

/**
 * Asks a Kademlia table without being part of it.
 *
 * Source: libp2p specification, kad-dht, "Peer routing" and "Content provider routing", client mode.
 */
final class Client implements ClientInterface
{
    private const MAX_ANSWER_BYTES = 256 * 1024;

    /** So many that name a peer are enough. */
    private const WITNESSES = 3;

    /** @var list<PeerInfo> */
    public readonly array $bootstrap;

    private readonly Connections $connections;

    /**
     * @param list<Multiaddr> $bootstrap nodes to begin with, each ending in a PeerId
     * @param int $alpha how many are asked at once
     * @param int $breadth how many of the nearest are asked in the end (Kademlia's k)
     * @param float $patienceS how long one node may take, from dialling to its answer
     * @param int $maxQueries end a lookup after so many
     * @param bool $dialPrivate whether to dial private and loopback addresses that others named
     * @param Connections|null $connections null for some of its own
     */
    public function __construct(
        private readonly HostInterface $host,
        array $bootstrap,
        private readonly string $protocol = '/phase/kad/1.0.0',
        private readonly int $alpha = 3,
        private readonly int $breadth = 20,
        private readonly float $patienceS = 3.0,
        private readonly int $maxQueries = 128,
        private readonly bool $dialPrivate = false,
        ?Connections $connections = null,
    ) {
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
        $found = [];
        try {
            foreach ($this->lookup(new Message(MessageType::GetProviders, $key), $deadline) as $answer) {
                foreach ($answer->providers as $provider) {
                    $name = (string) $provider->peer;
                    if ($provider->addresses === [] || isset($found[$name])) {
                        continue;
                    }
                    $found[$name] = true;
                    yield $provider;
                    if (count($found) >= $limit) {
                        return;
                    }
                }
            }
        } catch (TimedOut $exception) {
            if ($found === []) {
                throw $exception;
            }
        }
    }

    public function findPeer(PeerId $peer, Deadline $deadline): ?PeerInfo
    {
        $addresses = [];
        $witnesses = 0;
        try {
            $request = new Message(MessageType::FindNode, $peer->multihash());
            foreach ($this->lookup($request, $deadline, $peer) as $answer) {
                foreach ($answer->closer as $info) {
                    if ($info->peer->equals($peer) && $info->addresses !== []) {
                        $witnesses++;
                        foreach ($info->addresses as $address) {
                            $addresses[(string) $address] = $address;
                        }
                    }
                }
                if ($witnesses >= self::WITNESSES) {
                    break;
                }
            }
        } catch (TimedOut | Unreachable $exception) {
            if ($addresses === []) {
                throw $exception;
            }
        }

        return $addresses === [] ? null : new PeerInfo($peer, array_values($addresses));
    }

    public function close(): void
    {
        $this->connections->close();
    }

    /**
     * Ask nearer and nearer nodes, several at once, and give each answer as it comes.
     *
     * @param PeerId|null $sought not asked itself
     *
     * @return \Generator<int, Message>
     *
     * @throws Unreachable if nobody answered
     * @throws TimedOut
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
        $causes = [];
        try {
            while (true) {
                while ($queries->count() < $this->alpha && $candidates->asked() < $this->maxQueries) {
                    $node = $candidates->next();
                    if ($node === null) {
                        break;
                    }
                    $queries->start((string) $node->peer, fn (): array => [$node, $this->ask($node, $request, $deadline)]);
                }
                if ($queries->count() === 0) {
                    break;
                }
                [$name, $outcome, $error] = $queries->next($deadline, 'nodes of the DHT');
                if ($outcome === null) {
                    $causes[$name] = $error instanceof Libp2pException ? $error : throw $error ?? new \LogicException();
                    continue;
                }
                [$node, $answer] = $outcome;
                $answers++;
                $candidates->answered($node);
                foreach ($answer->closer as $info) {
                    if ($info->addresses !== [] && !in_array($info->peer, $never)) {
                        $candidates->add($info);
                    }
                }
                yield $answer;
            }
        } finally {
            $queries->cancel();
        }
        if ($answers === 0) {
            throw new Unreachable('no node of the DHT answered', $causes);
        }
    }

    /** @throws Libp2pException */
    private function ask(PeerInfo $node, Message $request, Deadline $lookup): Message
    {
        $deadline = $lookup->within($this->patienceS);
        $publicOnly = !$this->dialPrivate && !in_array($node, $this->bootstrap, true);

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
}
