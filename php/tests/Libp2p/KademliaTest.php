<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\ResolverInterface;
use Plasm\Libp2p\Kademlia\Candidates;
use Plasm\Libp2p\Kademlia\Client;
use Plasm\Libp2p\Kademlia\Message;
use Plasm\Libp2p\Kademlia\MessageType;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\Libp2p\Protobuf;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Tests\Libp2p\Support\Node;
use Plasm\Time\Deadline;

final class KademliaTest extends TestCase
{
    private const PROTOCOL = '/phase/kad/1.0.0';
    private const KEY = "\x12\x20the key of what is looked for...";

    private Loop $loop;
    private Host $host;

    /** @var list<Node> */
    private array $nodes = [];

    private int $asked = 0;

    protected function setUp(): void
    {
        $this->loop = new Loop();
        $this->host = new Host(loop: $this->loop);
        $this->asked = 0;
    }

    protected function tearDown(): void
    {
        $this->host->close();
        foreach ($this->nodes as $node) {
            $node->close();
        }
        $this->nodes = [];
    }

    public function testAMessageIsReadBack(): void
    {
        $info = self::stranger('192.0.2.1');
        $message = new Message(MessageType::GetProviders, self::KEY, [$info], [self::stranger('192.0.2.2'), $info]);

        self::assertEquals($message, Message::decode($message->encode()));
    }

    public function testUnknownFieldsOfAMessageAreIgnored(): void
    {
        $info = self::stranger('192.0.2.1');
        $peer = Protobuf::bytes(1, $info->peer->multihash()) . Protobuf::bytes(2, "\xFF\x7Fjunk")
            . Protobuf::bytes(2, $info->addresses[0]->toBytes()) . Protobuf::number(3, 1) . Protobuf::bytes(4, 'signed');
        $rsa = Protobuf::bytes(1, "\x12\x20" . random_bytes(32));
        $bytes = Protobuf::number(1, 4) . Protobuf::bytes(8, $rsa) . Protobuf::bytes(8, $peer) . Protobuf::bytes(11, 'signed');

        self::assertEquals(new Message(MessageType::FindNode, '', [$info]), Message::decode($bytes));
    }

    public function testAMessageIsReadOnlyUpToItsLimits(): void
    {
        $addresses = array_map(static fn (int $port): Multiaddr => Multiaddr::parse("/ip4/192.0.2.1/tcp/$port"), range(1, 100));
        $many = new PeerInfo(Identity::ephemeral()->peer, $addresses);
        $message = Message::decode((new Message(MessageType::FindNode, '', array_fill(0, 500, $many)))->encode());

        self::assertCount(40, $message->closer);
        self::assertCount(16, $message->closer[0]->addresses);
    }

    public function testCandidatesComeNearestFirstAndEachOnce(): void
    {
        $candidates = new Candidates(self::KEY, 20);
        $infos = array_map(static fn (): PeerInfo => self::stranger('192.0.2.1'), range(1, 300));
        foreach ([...$infos, ...$infos] as $info) {
            $candidates->add($info);
        }
        $distance = static fn (PeerInfo $info): string =>
            bin2hex(hash('sha256', self::KEY, true) ^ hash('sha256', $info->peer->multihash(), true));
        $expected = array_map($distance, $infos);
        sort($expected);
        $taken = [];
        while (($info = $candidates->next()) !== null) {
            $taken[] = $distance($info);
            $candidates->add($info);
        }

        self::assertSame(array_slice($expected, 0, 256), $taken);
    }

    public function testALookupConvergesWhenTheNearestHaveAnswered(): void
    {
        $candidates = new Candidates(self::KEY, 3);
        for ($number = 0; $number < 50; $number++) {
            $candidates->add(self::stranger('192.0.2.1'));
        }
        for ($number = 0; $number < 3; $number++) {
            $candidates->answered($candidates->next() ?? self::fail('no candidate is left'));
        }

        self::assertNull($candidates->next());
        self::assertSame(3, $candidates->asked());
    }

    public function testAProviderIsFoundOverSeveralHops(): void
    {
        $provider = self::stranger('192.0.2.7');
        $last = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider, $provider]));
        $middle = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$last->info()]));
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$middle->info()]));

        $found = $this->find($this->client($first));

        self::assertEquals([$provider], $found);
        self::assertSame(3, $this->asked);
    }

    public function testAPeerIsFoundWithAllTheAddressesThatAreKnown(): void
    {
        $sought = self::stranger('192.0.2.7');
        $elsewhere = new PeerInfo($sought->peer, [Multiaddr::parse("/ip4/192.0.2.8/tcp/9/p2p/$sought->peer")]);
        $second = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$elsewhere]));
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$sought, $second->info()]));

        $found = $this->client($first)->findPeer($sought->peer, Deadline::after(10));

        self::assertEquals(new PeerInfo($sought->peer, [...$sought->addresses, ...$elsewhere->addresses]), $found);
    }

    public function testAPeerThatNobodyKnows(): void
    {
        $first = $this->node(static fn (Message $request): Message => new Message($request->type));

        self::assertNull($this->client($first)->findPeer(Identity::ephemeral()->peer, Deadline::after(10)));
    }

    public function testTheSearchEndsWithItsLimit(): void
    {
        $providers = array_map(static fn (int $number): PeerInfo => self::stranger("192.0.2.$number"), range(1, 10));
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], $providers));

        self::assertCount(4, $this->find($this->client($first), limit: 4));
    }

    public function testAConnectionIsUsedAgainForTheNextLookup(): void
    {
        $provider = self::stranger('192.0.2.7');
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider]));
        $client = $this->client($first);
        for ($lookup = 0; $lookup < 200; $lookup++) {
            self::assertCount(1, $this->find($client));
        }

        self::assertSame([1, 200], [$first->accepted, $this->asked]);
    }

    /** py-libp2p resets such a stream now and then. */
    public function testARequestIsNotEndedBeforeItsAnswer(): void
    {
        $provider = self::stranger('192.0.2.7');
        $node = $this->raw(static function (Stream $stream, Deadline $deadline) use ($provider): void {
            $request = Message::decode(Framing::readMessage($stream, 1000, $deadline));
            try {
                $stream->read(1, $deadline->within(0.05));
                $stream->reset();
            } catch (DeadlinePassed) {
                $stream->write(Framing::frame((new Message($request->type, '', [], [$provider]))->encode()), $deadline);
                self::assertSame('', $stream->read(1, $deadline));
            }
        });

        self::assertEquals([$provider], $this->find($this->client($node)));
    }

    public function testNodesThatPointAtEachOtherAreAskedOnce(): void
    {
        $infos = [];
        $answer = static function (Message $request) use (&$infos): Message {
            return new Message($request->type, '', [...$infos, ...$infos]);
        };
        $nodes = array_map(fn (): Node => $this->node($answer), range(1, 5));
        $infos = array_map(static fn (Node $node): PeerInfo => $node->info(), $nodes);

        self::assertSame([], $this->find($this->client($nodes[0])));
        self::assertSame(5, $this->asked);
    }

    public function testInventedNodesWithoutEndCostABoundedNumberOfQueries(): void
    {
        $liar = null;
        // Every node that it names is at its own address, under a key that is not its own.
        $liar = $this->node(static function (Message $request) use (&$liar): Message {
            $port = $liar->address()->components[1][1];
            $invent = static function () use ($port): PeerInfo {
                $peer = Identity::ephemeral()->peer;

                return new PeerInfo($peer, [Multiaddr::parse("/ip4/127.0.0.1/tcp/$port/p2p/$peer")]);
            };

            return new Message($request->type, '', array_map($invent, range(1, 60)));
        });
        $before = memory_get_usage();

        self::assertSame([], $this->find($this->client($liar, maxQueries: 30)));
        self::assertSame(30, $liar->accepted);
        self::assertLessThan(16_000_000, memory_get_usage() - $before);
    }

    public function testTwoThirdsOfTheNodesDeadCostLittleTime(): void
    {
        $provider = self::stranger('192.0.2.7');
        $silent = array_map(fn (): Node => $this->nodes[] = Node::scripted($this->loop, static function (): void {
        }), range(1, 6));
        $closed = array_map(fn (): Node => $this->node(static fn (Message $request): Message => $request), range(1, 6));
        $infos = array_map(static fn (Node $node): PeerInfo => $node->info(), [...$silent, ...$closed]);
        foreach ($closed as $node) {
            $node->close();
        }
        $alive = array_map(
            fn (): Node => $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider])),
            range(1, 6),
        );
        foreach ($alive as $node) {
            $infos[] = $node->info();
        }
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', $infos));

        self::assertEquals([$provider], $this->find($this->client($first, patienceS: 0.3), Deadline::after(10)));
        self::assertSame(7, $this->asked);
    }

    public function testADeadBootstrapNodeIsReportedWithItsReason(): void
    {
        $node = $this->node(static fn (Message $request): Message => $request);
        $client = $this->client($node);
        $node->close();
        try {
            $this->find($client);
            self::fail('a dead node answered');
        } catch (PeerUnreachable $exception) {
            self::assertSame([(string) $node->identity->peer], array_keys($exception->causes));
        }
    }

    public function testAnotherBootstrapDoes(): void
    {
        $provider = self::stranger('192.0.2.7');
        $dead = $this->node(static fn (Message $request): Message => $request);
        $alive = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider]));
        $client = new Client($this->host, [$dead->address(), $alive->address()]);
        $dead->close();

        self::assertEquals([$provider], $this->find($client));
    }

    public function testTheDeadlineEndsALookupAmongSilentNodes(): void
    {
        $silent = $this->node(static fn (): ?Message => null);
        $start = hrtime(true);
        try {
            $this->find($this->client($silent), Deadline::after(0.3));
            self::fail('a silent node answered');
        } catch (DeadlinePassed | PeerUnreachable) {
            self::assertLessThan(5e9, hrtime(true) - $start);
        }
    }

    public function testWhatWasFoundBeforeTheDeadlineIsKept(): void
    {
        $provider = self::stranger('192.0.2.7');
        $silent = $this->node(static fn (): ?Message => null);
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$silent->info()], [$provider]));

        self::assertEquals([$provider], $this->find($this->client($first, patienceS: 20), Deadline::after(0.5)));
    }

    public function testPrivateAddressesThatOthersNamedAreNotDialled(): void
    {
        $second = $this->node(static fn (Message $request): Message => new Message($request->type));
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$second->info()]));

        self::assertSame([], $this->find(new Client($this->host, [$first->address()])));
        self::assertSame([1, 0], [$first->accepted, $second->accepted]);
    }

    /** One could stand for any address, and its owner would learn who asks. */
    public function testDnsNamesFromOtherPeersAreNotLookedUp(): void
    {
        $resolver = new class implements ResolverInterface {
            /** @var list<string> */
            public array $asked = [];

            public function resolve(string $name, bool $ip4, bool $ip6, Deadline $deadline): array
            {
                $this->asked[] = $name;

                return ['127.0.0.1'];
            }
        };
        $host = new Host(loop: $this->loop, resolver: $resolver);
        $told = array_map(static function (string $address): PeerInfo {
            $peer = Identity::ephemeral()->peer;

            return new PeerInfo($peer, [Multiaddr::parse($address)->withPeer($peer)]);
        }, [
            '/dns/a.example/tcp/1', '/dns4/b.example/tcp/1', '/dns6/c.example/tcp/1', '/dns4/localhost/tcp/1',
            '/dns4/d.example/tcp/1/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB/p2p-circuit',
        ]);
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', $told));
        foreach ([false, true] as $dialPrivate) {
            $client = new Client($host, [$first->address()], dialPrivate: $dialPrivate);
            self::assertSame([], $this->find($client));
        }

        self::assertSame([], $resolver->asked);
        self::assertSame(2, $this->asked);
        $host->close();
    }

    public function testAFalseAddressCountsOnlyAgainstThePeerThatGaveIt(): void
    {
        $provider = self::stranger('192.0.2.7');
        $honest = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider]));
        $deaf = Node::scripted($this->loop, static function (): void {
        });
        $this->nodes[] = $deaf;
        $false = array_map(
            static fn (int $port): Multiaddr => Multiaddr::parse("/ip4/127.0.0.1/tcp/$port/p2p/{$honest->identity->peer}"),
            [1, 2, (int) $deaf->address()->components[1][1]],
        );
        $true = $honest->info();
        $liar = $this->node(static fn (Message $request): Message => new Message(
            $request->type,
            '',
            [new PeerInfo($true->peer, $false)],
        ));
        $other = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$true]));
        $client = new Client($this->host, [$liar->address(), $other->address()], patienceS: 0.5, dialPrivate: true);

        self::assertEquals([$provider], $this->find($client));
    }

    public function testManyOfOneNetworkAreAskedAfterOthers(): void
    {
        $candidates = new Candidates(self::KEY, 3);
        $crowd = array_map(static fn (int $number): PeerInfo => self::stranger("8.8.8.$number"), range(1, 60));
        $others = array_map(static fn (int $number): PeerInfo => self::stranger("9.9.$number.9"), range(1, 6));
        foreach ([...$crowd, ...$others] as $info) {
            $candidates->add($info);
        }
        $asked = [];
        for ($number = 0; $number < 8; $number++) {
            $asked[] = $candidates->next() ?? self::fail('nobody is left');
        }

        self::assertLessThanOrEqual(2, count(array_filter($asked, static fn (PeerInfo $info): bool => in_array($info, $crowd, true))));
    }

    public function testWhoNamesNodesThatAreNotThereIsAskedLast(): void
    {
        $candidates = new Candidates(self::KEY, 20);
        [$liar, $honest] = [self::stranger('8.8.8.8'), self::stranger('9.9.9.9')];
        foreach (range(1, 40) as $number) {
            $candidates->add(self::stranger("11.0.$number.1"), $liar);
        }
        $sound = array_map(static fn (int $number): PeerInfo => self::stranger("12.0.$number.1"), range(1, 10));
        foreach ($sound as $info) {
            $candidates->add($info, $honest);
        }
        $asked = [];
        for ($number = 0; $number < 14; $number++) {
            $info = $candidates->next() ?? self::fail('nobody is left');
            $asked[] = $info;
            in_array($info, $sound) ? $candidates->answered($info) : $candidates->failed($info);
        }

        self::assertCount(10, array_filter($asked, static fn (PeerInfo $info): bool => in_array($info, $sound)));
    }

    public function testAProviderComesAgainWhereAnotherSaysThatItIs(): void
    {
        $provider = self::stranger('192.0.2.7');
        $false = new PeerInfo($provider->peer, [Multiaddr::parse("/ip4/192.0.2.9/tcp/1/p2p/$provider->peer")]);
        $honest = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$provider]));
        $liar = $this->node(static fn (Message $request): Message => new Message($request->type, '', [], [$false]));
        $found = $this->find(new Client($this->host, [$liar->address(), $honest->address()], dialPrivate: true));
        $last = end($found);

        self::assertCount(2, $found);
        self::assertContains((string) $provider->addresses[0], array_map(strval(...), $last->addresses));
    }

    /**
     * @dataProvider garbage
     *
     * @param list<class-string<Libp2pException>> $expected
     */
    #[DataProvider('garbage')]
    public function testANodeThatAnswersGarbageIsDropped(string $bytes, array $expected): void
    {
        $liar = $this->raw(static function (Stream $stream, Deadline $deadline) use ($bytes): void {
            Framing::readMessage($stream, 1000, $deadline);
            $stream->write($bytes, $deadline);
            $stream->closeWrite();
        });
        $before = memory_get_usage();
        try {
            $this->find($this->client($liar));
            self::fail('garbage was believed');
        } catch (PeerUnreachable $exception) {
            $cause = $exception->causes[(string) $liar->identity->peer];
            self::assertContains($cause::class, $expected, $cause->getMessage());
            self::assertLessThan(16_000_000, memory_get_usage() - $before);
        }
    }

    /** @return array<string, array{string, list<class-string<Libp2pException>>}> */
    public static function garbage(): array
    {
        $lost = [ConnectionClosed::class];
        $wrong = [ProtocolViolation::class];
        $peer = Protobuf::bytes(1, Identity::ephemeral()->peer->multihash());

        return [
            'nothing' => ['', $lost],
            'half of a message' => ["\x10half", $lost],
            'an endless message' => ["\xFF\xFF\xFF\xFF\x7F" . str_repeat('x', 100_000), $wrong],
            'no protobuf' => [Framing::frame(str_repeat("\xFF", 100)), $wrong],
            'an empty message' => [Framing::frame(''), $wrong],
            'another kind of answer' => [Framing::frame((new Message(MessageType::FindNode))->encode()), $wrong],
            'an unknown kind of answer' => [Framing::frame(Protobuf::number(1, 99)), $wrong],
            'a broken peer' => [Framing::frame(Protobuf::number(1, 3) . Protobuf::bytes(8, "{$peer}\x12\xFF")), $wrong],
            'fields without end' => [Framing::frame(str_repeat("\x08\x03", 100_000)), $wrong],
        ];
    }

    public function testGarbageInPartsNeverBreaksALookup(): void
    {
        mt_srand(5);
        $peers = [self::stranger('192.0.2.1')];
        $valid = (new Message(MessageType::GetProviders, self::KEY, $peers, $peers))->encode();
        $read = 0;
        for ($round = 0; $round < 3000; $round++) {
            $bytes = $valid;
            for ($change = mt_rand(1, 4); $change > 0; $change--) {
                $bytes[mt_rand(0, strlen($bytes) - 1)] = chr(mt_rand(0, 255));
            }
            try {
                Message::decode(substr($bytes, 0, mt_rand(0, 2 * strlen($bytes))));
                $read++;
            } catch (ProtocolViolation) {
                continue;
            }
        }

        self::assertGreaterThan(100, $read);
    }

    public function testALookupThatIsLeftEarlyLeavesNothingBehind(): void
    {
        $providers = [self::stranger('192.0.2.1'), self::stranger('192.0.2.2')];
        $slow = $this->node(static fn (): ?Message => null);
        $first = $this->node(static fn (Message $request): Message => new Message($request->type, '', [$slow->info()], $providers));
        foreach ($this->client($first)->findProviders(self::KEY, Deadline::after(10)) as $provider) {
            self::assertEquals($providers[0], $provider);
            break;
        }
        $stream = $this->host->dial($first->address(), Deadline::after(10))->openStream(self::PROTOCOL, Deadline::after(10));
        $stream->reset();

        self::assertSame(2, $first->accepted);
    }

    /** @return list<PeerInfo> */
    private function find(Client $client, ?Deadline $deadline = null, int $limit = 20): array
    {
        return [...$client->findProviders(self::KEY, $deadline ?? Deadline::after(10), $limit)];
    }

    private function client(Node $bootstrap, int $maxQueries = 128, float $patienceS = 3.0): Client
    {
        return new Client($this->host, [$bootstrap->address()], maxQueries: $maxQueries, patienceS: $patienceS, dialPrivate: true);
    }

    /** @param \Closure(Message): (Message|null) $answer null to say nothing */
    private function node(\Closure $answer): Node
    {
        return $this->raw(function (Stream $stream, Deadline $deadline) use ($answer): void {
            $request = Message::decode(Framing::readMessage($stream, 1000, $deadline));
            $this->asked++;
            $message = $answer($request);
            if ($message !== null) {
                $stream->write(Framing::frame($message->encode()), $deadline);
                $stream->closeWrite();
            }
        });
    }

    /** @param \Closure(Stream, Deadline): void $handler */
    private function raw(\Closure $handler): Node
    {
        return $this->nodes[] = Node::honest($this->loop, [self::PROTOCOL => $handler]);
    }

    private static function stranger(string $ip): PeerInfo
    {
        $peer = Identity::ephemeral()->peer;

        return new PeerInfo($peer, [Multiaddr::parse("/ip4/$ip/tcp/4001/p2p/$peer")]);
    }
}
