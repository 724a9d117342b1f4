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
use Plasm\Libp2p\Exception\RelayRefused;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Protobuf;
use Plasm\Libp2p\Relay\HopMessage;
use Plasm\Libp2p\StreamInterface;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\PeerId;
use Plasm\Tests\Libp2p\Support\Handlers;
use Plasm\Tests\Libp2p\Support\Node;
use Plasm\Tests\Libp2p\Support\Relay;
use Plasm\Tests\Vectors;
use Plasm\Time\Deadline;

/** Peers that are reached through a relay only. */
final class RelayTest extends TestCase
{
    private const MEMORY_BYTES = 32_000_000;

    private Loop $loop;
    private Host $host;

    /** @var list<Node> */
    private array $nodes = [];

    protected function setUp(): void
    {
        $this->loop = new Loop();
        $this->host = new Host(loop: $this->loop);
    }

    protected function tearDown(): void
    {
        $this->host->close();
        foreach ($this->nodes as $node) {
            $node->close();
        }
        $this->nodes = [];
    }

    public function testTheMessagesOfTheSpecification(): void
    {
        $vectors = Vectors::load('libp2p')['circuit'];
        $connect = HopMessage::connect(PeerId::parse($vectors['peer_id']));
        HopMessage::check(sodium_hex2bin($vectors['granted_hex']));
        $statuses = [];
        foreach ($vectors['refused'] as $refused) {
            try {
                HopMessage::check(sodium_hex2bin($refused['message_hex']));
            } catch (RelayRefused $exception) {
                $statuses[] = $exception->status;
            }
        }

        self::assertSame($vectors['connect_hex'], bin2hex($connect));
        self::assertSame(array_column($vectors['refused'], 'status'), $statuses);
    }

    /** @dataProvider nonsense */
    #[DataProvider('nonsense')]
    public function testAnInvalidAnswerIsRefused(string $hex): void
    {
        $this->expectException(ProtocolViolation::class);

        HopMessage::check(sodium_hex2bin($hex));
    }

    /** @return list<array{string}> */
    public static function nonsense(): array
    {
        return array_map(static fn (string $hex): array => [$hex], Vectors::load('libp2p')['circuit']['no_answer_hex']);
    }

    public function testItTalksToAPeerThroughItsRelay(): void
    {
        $relay = $this->relay();
        $node = $this->honest();
        $address = Multiaddr::parse($relay->to($node));
        $connection = $this->host->dial($address, Deadline::after(10));
        $stream = $connection->openStream('/test/echo', Deadline::after(10), 'a secret');
        $stream->closeWrite();

        self::assertSame('a secret', self::all($stream));
        self::assertTrue($connection->remotePeer()->equals($node->identity->peer));
        self::assertTrue($connection->remoteAddress()->equals($address));
        self::assertGreaterThan(0.0, $connection->ping(Deadline::after(10)));
        self::assertGreaterThan(100, strlen($relay->seen));
        self::assertStringNotContainsString('secret', $relay->seen);
    }

    public function testSeveralMegabytesGoBothWays(): void
    {
        $connection = $this->host->dial($this->through($this->relay()), Deadline::after(10));
        $stream = $connection->openStream('/test/echo', Deadline::after(10));
        $sent = random_bytes(5_000_000);
        $this->loop->spawn(static function () use ($stream, $sent): void {
            $stream->write($sent, Deadline::after(30));
            $stream->closeWrite();
        });

        self::assertSame(hash('sha256', $sent), hash('sha256', self::all($stream)));
    }

    public function testCircuitsShareOneConnectionToTheirRelayWhichEndsWithThem(): void
    {
        $relay = $this->relay();
        $connections = [];
        foreach ([0, 1, 2] as $number) {
            $connections[] = $this->host->dial($this->through($relay), Deadline::after(10));
        }
        $echoes = array_map(static function ($connection): string {
            $stream = $connection->openStream('/test/count', Deadline::after(10), 'four');
            $stream->closeWrite();

            return self::all($stream);
        }, $connections);

        self::assertSame(['4', '4', '4'], $echoes);
        self::assertSame([1, 3], [$relay->node->accepted, $relay->circuits]);

        array_pop($connections)?->close();
        self::assertGreaterThan(0.0, $connections[0]->ping(Deadline::after(10)));
        self::assertTrue($relay->node->sessions[0]->isOpen());
        foreach ($connections as $connection) {
            $connection->close();
        }
        $this->turnUntil(static fn (): bool => !$relay->node->sessions[0]->isOpen());
        self::assertFalse($relay->node->sessions[0]->isOpen());
    }

    public function testThoseWhoDialAtTheSameTimeShareToo(): void
    {
        $relay = $this->relay();
        $addresses = [$this->through($relay), $this->through($relay), $this->through($relay)];
        $tasks = [];
        foreach ($addresses as $address) {
            $tasks[] = $this->loop->spawn(fn (): mixed => $this->host->dial($address, Deadline::after(10)));
        }
        $this->turnUntil(static fn (): bool => $tasks[0]->done() && $tasks[1]->done() && $tasks[2]->done());

        foreach ($tasks as $task) {
            self::assertNull($task->error());
        }
        self::assertSame(1, $relay->node->accepted);
    }

    public function testAPeerThatTheRelayDoesNotKnowIsRefusedByName(): void
    {
        $relay = $this->relay();
        $nobody = Identity::ephemeral()->peer;
        try {
            $this->host->dial(Multiaddr::parse("{$relay->node->address()}/p2p-circuit/p2p/$nobody"), Deadline::after(10));
            self::fail('a circuit to nobody');
        } catch (RelayRefused $exception) {
            self::assertSame(204, $exception->status);
            self::assertSame('the peer has no reservation at the relay', $exception->getMessage());
        }
    }

    public function testANodeThatIsNoRelayIsReported(): void
    {
        $this->expectException(UnsupportedProtocol::class);
        $peer = Identity::ephemeral()->peer;

        $this->host->dial(Multiaddr::parse("{$this->honest()->address()}/p2p-circuit/p2p/$peer"), Deadline::after(10));
    }

    public function testSomebodyElseBehindTheRelayIsRefused(): void
    {
        $peer = Identity::ephemeral()->peer;
        $stranger = $this->honest();
        $relay = $this->answering(function (Stream $stream, Deadline $deadline) use ($stranger): void {
            $stream->write(self::granted(), $deadline);
            $stranger->serve($stranger->upgradeStream($stream), Handlers::all());
        });
        $this->expectException(WrongPeer::class);

        $this->host->dial(Multiaddr::parse("{$relay->address()}/p2p-circuit/p2p/$peer"), Deadline::after(10));
    }

    /** @dataProvider misbehaviours */
    #[DataProvider('misbehaviours')]
    public function testARelayThatMisbehavesIsGivenUp(\Closure $answer, string $exception): void
    {
        $relay = $this->answering($answer);
        $peer = Identity::ephemeral()->peer;
        $this->expectException($exception);

        $this->host->dial(Multiaddr::parse("{$relay->address()}/p2p-circuit/p2p/$peer"), Deadline::after(1.5));
    }

    /** @return array<string, array{\Closure, class-string<Libp2pException>}> */
    public static function misbehaviours(): array
    {
        $says = static fn (string $bytes): \Closure => static function (Stream $stream, Deadline $deadline) use ($bytes): void {
            $stream->write($bytes, $deadline);
        };

        return [
            'silent' => [static fn () => null, DeadlinePassed::class],
            'resets' => [static fn (Stream $stream) => $stream->reset(), Libp2pException::class],
            'ends' => [static fn (Stream $stream) => $stream->closeWrite(), ConnectionClosed::class],
            'long' => [$says("\xFF\xFF\x03"), ProtocolViolation::class],
            'nonsense' => [$says(Framing::frame('nonsense')), ProtocolViolation::class],
            'silent behind' => [$says(self::granted()), DeadlinePassed::class],
            'garbage behind' => [$says(self::granted() . str_repeat("\0", 100)), ProtocolViolation::class],
        ];
    }

    public function testARelayThatDiesEndsItsCircuitsAtOnce(): void
    {
        $relay = $this->relay();
        $connection = $this->host->dial($this->through($relay), Deadline::after(10));
        $stream = $connection->openStream('/test/silent', Deadline::after(10));
        $relay->node->forget();
        $started = hrtime(true);
        try {
            $stream->read(1, Deadline::after(10));
            self::fail('a dead relay brought something');
        } catch (ConnectionClosed) {
            self::assertLessThan(5.0, (hrtime(true) - $started) / 1e9);
        }

        self::assertFalse($connection->isOpen());
    }

    public function testARelayThatAcceptsNothingDelaysLittle(): void
    {
        $node = $this->honest();
        $relay = $this->answering(static function (Stream $stream, Deadline $deadline) use ($node): void {
            $stream->write(self::granted(), $deadline);
            $node->serve($node->upgradeStream($stream, stopAfter: 4000), Handlers::all());
        });
        $connection = $this->host->dial(
            Multiaddr::parse("{$relay->address()}/p2p-circuit/p2p/{$node->identity->peer}"),
            Deadline::after(10),
        );
        $before = memory_get_usage();
        memory_reset_peak_usage();
        try {
            $connection->openStream('/test/count', Deadline::after(1))->write(str_repeat('x', 20_000_000), Deadline::after(1));
            self::fail('it was all taken');
        } catch (DeadlinePassed) {
            self::assertLessThan($before + 20_000_000 + self::MEMORY_BYTES, memory_get_peak_usage());
        }
    }

    public function testADirectAddressIsPreferredToARelay(): void
    {
        $relay = $this->relay();
        $node = $this->honest();
        $addresses = [Multiaddr::parse($relay->to($node)), $node->address()];
        $connection = $this->host->race($addresses, Deadline::after(10));

        self::assertTrue($connection->remoteAddress()->equals($node->address()));
        self::assertSame(0, $relay->node->accepted);
    }

    public function testTheRelayIsUsedAtOnceWithoutADirectAddress(): void
    {
        $relay = $this->relay();
        $node = $this->honest();
        $circuit = Multiaddr::parse($relay->to($node));
        $closed = $this->honest();
        $address = $closed->address()->withPeer($node->identity->peer);
        $closed->close();
        $connection = $this->host->race([$address, $circuit], Deadline::after(10));

        self::assertTrue($connection->remoteAddress()->equals($circuit));
    }

    public function testTheRelayIsUsedIfTheDirectAddressIsSilent(): void
    {
        $relay = $this->relay();
        $node = $this->honest();
        $circuit = Multiaddr::parse($relay->to($node));
        $silent = $this->nodes[] = Node::scripted($this->loop, static fn () => null);
        $connection = $this->host->race([$silent->address()->withPeer($node->identity->peer), $circuit], Deadline::after(10));

        self::assertTrue($connection->remoteAddress()->equals($circuit));
    }

    public function testIfNoAddressWorksEachIsNamed(): void
    {
        $relay = $this->relay();
        $peer = Identity::ephemeral()->peer;
        $circuit = Multiaddr::parse("{$relay->node->address()}/p2p-circuit/p2p/$peer");
        try {
            $this->host->race([$circuit], Deadline::after(10));
            self::fail('somebody was reached');
        } catch (PeerUnreachable $exception) {
            self::assertInstanceOf(RelayRefused::class, $exception->causes[(string) $circuit]);
        }
    }

    private static function granted(): string
    {
        return Framing::frame(Protobuf::number(1, 2) . Protobuf::number(5, 100));
    }

    private static function all(StreamInterface $stream): string
    {
        $received = '';
        while (($bytes = $stream->read(1 << 20, Deadline::after(30))) !== '') {
            $received .= $bytes;
        }

        return $received;
    }

    private function turnUntil(\Closure $condition): void
    {
        for ($deadline = Deadline::after(10); !$condition() && !$deadline->hasPassed();) {
            $this->loop->poll();
        }
    }

    private function relay(): Relay
    {
        $relay = new Relay($this->loop);
        $this->nodes[] = $relay->node;

        return $relay;
    }

    private function through(Relay $relay): Multiaddr
    {
        return Multiaddr::parse($relay->to($this->honest()));
    }

    /** Start a relay that answers requests in a way of its own. */
    private function answering(\Closure $answer): Node
    {
        return $this->nodes[] = Node::honest($this->loop, [
            HopMessage::PROTOCOL => static function (Stream $stream, Deadline $deadline) use ($answer): void {
                Framing::readMessage($stream, HopMessage::MAX_BYTES, $deadline);
                $answer($stream, $deadline);
            },
        ]);
    }

    private function honest(): Node
    {
        return $this->nodes[] = Node::honest($this->loop, Handlers::all());
    }
}
