<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\DecryptionFailed;
use Plasm\Libp2p\Exception\HandshakeFailed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\StreamReset;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Multistream;
use Plasm\Libp2p\Noise\HandshakePayload;
use Plasm\Libp2p\Noise\HandshakeState;
use Plasm\Libp2p\Yamux\Frame;
use Plasm\Libp2p\Yamux\Session;
use Plasm\Tests\Libp2p\Support\Handlers;
use Plasm\Tests\Libp2p\Support\Node;
use Plasm\Time\Deadline;

final class HostTest extends TestCase
{
    /** What one peer may cost, over what is there anyway; the peer's own side is in it, too. */
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

    public function testItTalksToThePeerThatItDialled(): void
    {
        $node = $this->honest();
        $connection = $this->host->dial($node->address(), Deadline::after(10));
        $stream = $connection->openStream('/test/echo', Deadline::after(10), 'first, ');
        $stream->write('second', Deadline::after(10));
        $stream->closeWrite();
        $received = '';
        while (($bytes = $stream->read(100, Deadline::after(10))) !== '') {
            $received .= $bytes;
        }

        self::assertSame('first, second', $received);
        self::assertTrue($connection->remotePeer()->equals($node->identity->peer));
        self::assertTrue($connection->remoteAddress()->equals($node->address()));
        self::assertGreaterThan(0.0, $connection->ping(Deadline::after(10)));
    }

    public function testEachHostIsSomebodyElse(): void
    {
        self::assertFalse($this->host->peer()->equals((new Host())->peer()));
    }

    public function testSeveralMegabytesGoBothWays(): void
    {
        $connection = $this->host->dial($this->honest()->address(), Deadline::after(10));
        $stream = $connection->openStream('/test/echo', Deadline::after(10));
        $sent = random_bytes(3_000_000);
        $this->loop->spawn(static function () use ($stream, $sent): void {
            $stream->write($sent, Deadline::after(20));
            $stream->closeWrite();
        });
        $received = '';
        while (($bytes = $stream->read(1 << 20, Deadline::after(20))) !== '') {
            $received .= $bytes;
        }

        self::assertSame(hash('sha256', $sent), hash('sha256', $received));
    }

    public function testAProtocolThatThePeerDoesNotSpeakLeavesTheConnectionUsable(): void
    {
        $connection = $this->host->dial($this->honest()->address(), Deadline::after(10));
        try {
            $connection->openStream('/test/unknown', Deadline::after(10));
            self::fail('a stream of an unknown protocol was opened');
        } catch (UnsupportedProtocol $exception) {
            self::assertSame('the peer does not speak /test/unknown', $exception->getMessage());
        }
        $stream = $connection->openStream('/test/count', Deadline::after(10), 'four');
        $stream->closeWrite();

        self::assertSame('4', $stream->read(10, Deadline::after(10)));
    }

    public function testSomebodyElseAtTheAddressIsRefused(): void
    {
        $node = $this->honest();
        $expected = Identity::ephemeral()->peer;
        try {
            $this->host->dial($node->address()->withPeer($expected), Deadline::after(10));
            self::fail('a stranger was taken for the peer');
        } catch (WrongPeer $exception) {
            self::assertTrue($exception->expected->equals($expected));
            self::assertTrue($exception->actual->equals($node->identity->peer));
        }
    }

    public function testTheFirstToProveItselfWins(): void
    {
        $silent = $this->scripted(static fn () => null);
        $stranger = $this->honest();
        $node = $this->honest();
        $addresses = [
            $silent->address(),
            $stranger->address()->withPeer($node->identity->peer),
            Multiaddr::parse("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{$node->identity->peer}"),
            $this->closedAddress(),
            $node->address(),
        ];

        $connection = $this->host->race($addresses, Deadline::after(10));

        self::assertTrue($connection->remotePeer()->equals($node->identity->peer));
        self::assertTrue($connection->isOpen());
    }

    public function testARaceThatNobodyWinsSaysWhyEachLost(): void
    {
        $node = $this->honest();
        $stranger = $node->address()->withPeer(Identity::ephemeral()->peer);
        $closed = $this->closedAddress();
        try {
            $this->host->race([$stranger, $closed], Deadline::after(10));
            self::fail('somebody won');
        } catch (PeerUnreachable $exception) {
            self::assertEqualsCanonicalizing([(string) $stranger, (string) $closed], array_keys($exception->causes));
            self::assertInstanceOf(WrongPeer::class, $exception->causes[(string) $stranger]);
            self::assertInstanceOf(ConnectFailed::class, $exception->causes[(string) $closed]);
        }
    }

    public function testARaceOfSilentPeersEndsAtItsDeadline(): void
    {
        $addresses = [];
        for ($number = 0; $number < 5; $number++) {
            $addresses[] = $this->scripted(static fn () => null)->address();
        }
        $start = hrtime(true);
        try {
            $this->host->race($addresses, Deadline::after(0.2));
            self::fail('somebody won');
        } catch (DeadlinePassed | PeerUnreachable) {
            self::assertLessThan(5e9, hrtime(true) - $start);
        }
    }

    public function testARaceLeavesNoConnectionBehind(): void
    {
        $nodes = [$this->honest(), $this->honest(), $this->honest()];
        $this->host->race(array_map(static fn (Node $node): Multiaddr => $node->address(), $nodes), Deadline::after(10));
        $this->host->close();
        $all = Deadline::after(10);
        $sessions = array_merge(...array_map(static fn (Node $node): array => $node->sessions, $nodes));
        $ended = 0;
        foreach ($sessions as $session) {
            try {
                while (true) {
                    $session->ping($all);
                }
            } catch (ConnectionClosed) {
                $ended++;
            }
        }

        self::assertGreaterThan(0, $ended);
        self::assertCount($ended, $sessions);
    }

    /** @dataProvider undiallable */
    #[DataProvider('undiallable')]
    public function testAnAddressThatCannotBeDialledIsReported(string $address, bool $publicOnly): void
    {
        $this->expectException(UnsupportedAddress::class);

        $this->host->dial(Multiaddr::parse($address), Deadline::after(5), $publicOnly);
    }

    /** @return list<array{string, bool}> */
    public static function undiallable(): array
    {
        $peer = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';

        return [
            ['/ip4/127.0.0.1/tcp/1', false],
            ["/ip4/127.0.0.1/udp/1/quic-v1/p2p/$peer", false],
            ["/ip4/127.0.0.1/tcp/1/p2p/$peer/p2p-circuit", false],
            ["/ip4/127.0.0.1/udp/1/quic-v1/p2p/$peer/p2p-circuit/p2p/$peer", false],
            ["/ip4/127.0.0.1/tcp/1/p2p/$peer/p2p-circuit/p2p/$peer/p2p-circuit/p2p/$peer", false],
            ["/ip4/127.0.0.1/tcp/1/p2p/$peer/p2p-circuit/p2p/$peer", true],
            ["/ip4/127.0.0.1/tcp/1/p2p/$peer", true],
            ["/ip6/::1/tcp/1/p2p/$peer", true],
            ["/dns4/localhost/tcp/1/p2p/$peer", true],
        ];
    }

    public function testItWorksInAFiberOfSomebodyElse(): void
    {
        $node = $this->honest();
        $fiber = new \Fiber(function () use ($node): string {
            $connection = $this->host->race([$node->address()], Deadline::after(10));
            $stream = $connection->openStream('/test/count', Deadline::after(10), 'four');
            $stream->closeWrite();

            return $stream->read(10, Deadline::after(10));
        });
        $fiber->start();

        self::assertTrue($fiber->isTerminated());
        self::assertSame('4', $fiber->getReturn());
    }

    public function testIPv6(): void
    {
        $probe = @stream_socket_server('tcp://[::1]:0');
        if ($probe === false) {
            self::markTestSkipped('this machine has no IPv6');
        }
        fclose($probe);
        $node = $this->nodes[] = Node::honest($this->loop, Handlers::all(), listen: '[::1]');

        self::assertStringStartsWith('/ip6/::1/tcp/', (string) $node->address());
        self::assertTrue($this->host->dial($node->address(), Deadline::after(10))->isOpen());
    }

    public function testASignalThatArrivesMeanwhileDisturbsNothing(): void
    {
        if (!extension_loaded('pcntl')) {
            self::markTestSkipped('signals need pcntl');
        }
        $signals = 0;
        $async = pcntl_async_signals(true);
        pcntl_signal(SIGALRM, static function () use (&$signals): void {
            $signals++;
        });
        $silent = $this->scripted(static fn () => null);
        pcntl_alarm(1);
        try {
            $this->host->dial($silent->address(), Deadline::after(1.5));
            self::fail('a silent node answered');
        } catch (DeadlinePassed) {
            self::assertSame(1, $signals);
        } finally {
            pcntl_signal(SIGALRM, SIG_DFL);
            pcntl_async_signals($async);
        }
    }

    public function testConnectionsThatWereClosedCostNoMemory(): void
    {
        $node = $this->honest();
        $round = function () use ($node): void {
            for ($number = 0; $number < 20; $number++) {
                $connection = $this->host->dial($node->address(), Deadline::after(10));
                $connection->openStream('/test/echo', Deadline::after(10))->reset();
                $connection->close();
            }
            $node->forget();
            $this->loop->poll();
            gc_collect_cycles();
        };
        $round();
        $before = memory_get_usage();
        $round();
        $round();

        self::assertLessThan(20_000, memory_get_usage() - $before);
    }

    public function testANameOfTheHostsFileIsDialled(): void
    {
        $node = $this->honest();
        $address = Multiaddr::parse(str_replace('/ip4/127.0.0.1/', '/dns4/localhost/', (string) $node->address()));

        self::assertTrue($this->host->dial($address, Deadline::after(10))->isOpen());
    }

    /**
     * @dataProvider stalls
     *
     * @param \Closure(Socket, Node): mixed $script
     */
    #[DataProvider('stalls')]
    public function testANodeThatStallsIsGivenUpAtTheDeadline(\Closure $script, string $waitedFor): void
    {
        $node = $this->scripted($script);
        $start = hrtime(true);
        try {
            $this->talk($node, Deadline::after(0.3));
            self::fail('the node answered');
        } catch (DeadlinePassed $exception) {
            self::assertStringContainsString($waitedFor, $exception->getMessage());
            self::assertLessThan(5e9, hrtime(true) - $start);
        }
    }

    /** @return array<string, array{\Closure(Socket, Node): mixed, string}> */
    public static function stalls(): array
    {
        $silent = ['/test/talk' => static fn () => null];

        return [
            'before anything' => [static fn () => null, 'to speak Noise'],
            'in multistream-select' => [
                static fn (Socket $socket) => $socket->post(Framing::frame("/multistream/1.0.0\n")),
                'to speak Noise',
            ],
            'in the middle of a word' => [static fn (Socket $socket) => $socket->post("\x13/multi"), 'to speak Noise'],
            'before the handshake' => [
                static fn (Socket $socket) => Multistream::accept($socket, ['/noise'], Node::deadline()),
                'to shake hands',
            ],
            'in the middle of the handshake' => [
                self::handshake(static fn (string $message): array => [substr($message, 0, 60), false]),
                'to shake hands',
            ],
            'before yamux' => [static fn (Socket $socket, Node $node) => $node->secure($socket), 'to speak yamux'],
            'before the stream' => [static fn (Socket $socket, Node $node) => $node->upgrade($socket), 'to accept /test/talk'],
            'on the stream' => [
                static fn (Socket $socket, Node $node) => $node->serve($node->upgrade($socket), $silent),
                'bytes on a stream',
            ],
        ];
    }

    public function testANodeThatReadsNothingIsGivenUpAtTheDeadline(): void
    {
        $node = $this->scripted(static fn (Socket $socket, Node $node) => $node->serve($node->upgrade($socket), Handlers::all()));
        $stream = $this->host->dial($node->address(), Deadline::after(10))->openStream('/test/silent', Deadline::after(10));
        $before = memory_get_usage();
        $bytes = str_repeat('x', 10_000_000);
        try {
            $stream->write($bytes, Deadline::after(0.3));
            self::fail('more was taken than there was room for');
        } catch (DeadlinePassed $exception) {
            self::assertSame('the peer to make room on a stream', $exception->waitedFor);
            self::assertLessThan(self::MEMORY_BYTES, memory_get_usage() - $before);
        }
    }

    /**
     * @dataProvider liars
     *
     * @param \Closure(Socket, Node): mixed $script
     * @param list<class-string<Libp2pException>> $expected
     */
    #[DataProvider('liars')]
    public function testANodeThatBreaksTheRulesIsFoundOut(\Closure $script, array $expected): void
    {
        $node = $this->scripted($script);
        $before = memory_get_usage();
        $start = hrtime(true);
        try {
            $this->talk($node, Deadline::after(in_array(DeadlinePassed::class, $expected, true) ? 0.5 : 10));
            self::fail('the node was believed');
        } catch (Libp2pException $exception) {
            self::assertContains($exception::class, $expected, $exception->getMessage());
            self::assertLessThan(15e9, hrtime(true) - $start);
            self::assertLessThan(self::MEMORY_BYTES, memory_get_usage() - $before);
        }
    }

    /** @return array<string, array{\Closure(Socket, Node): mixed, list<class-string<Libp2pException>>}> */
    public static function liars(): array
    {
        $flood = static fn (string $bytes): \Closure => static function (Socket $socket) use ($bytes): void {
            while (true) {
                $socket->write($bytes, Node::deadline());
            }
        };
        $after = static fn (\Closure $then): \Closure =>
            static fn (Socket $socket, Node $node) => $then($node->secure($socket), $node, $socket);
        $serve = static fn (\Closure $handler): \Closure =>
            static fn (Socket $socket, Node $node) => $node->serve($node->upgrade($socket), ['/test/talk' => $handler]);
        $greeting = Framing::frame("/multistream/1.0.0\n");
        $frames = static fn (string $bytes): \Closure => $after(static function ($secure) use ($bytes): void {
            Multistream::accept($secure, [Session::PROTOCOL], Node::deadline());
            while (true) {
                $secure->write($bytes, Node::deadline());
            }
        });
        $gone = [ConnectionClosed::class];
        $wrong = [ProtocolViolation::class];
        $failed = [HandshakeFailed::class];

        return [
            'closes at once' => [static fn (Socket $socket) => $socket->close(), $gone],
            'speaks HTTP' => [static fn (Socket $socket) => $socket->post("HTTP/1.1 400 Bad Request\r\n\r\n"), $wrong],
            'sends zeros without end' => [$flood(str_repeat("\0", 65536)), $wrong],
            'sends ones without end' => [$flood(str_repeat("\xFF", 65536)), $wrong],
            'sends noise without end' => [$flood(random_bytes(65536)), [...$wrong, DeadlinePassed::class]],
            'announces an endless word' => [$flood("\xFF\xFF\xFF\xFF\x7F" . str_repeat('a', 65536)), $wrong],
            'greets without end' => [$flood(str_repeat(Framing::frame("/multistream/1.0.0\n"), 1000)), $wrong],
            'does not know Noise' => [
                static fn (Socket $socket) => Multistream::accept($socket, ['/plaintext/2.0.0'], Node::deadline()),
                [UnsupportedProtocol::class],
            ],
            'accepts another protocol' => [
                static fn (Socket $socket) => $socket->post($greeting . Framing::frame("/plaintext/2.0.0\n")),
                $wrong,
            ],
            'cuts the handshake off' => [
                self::handshake(static fn (string $message): array => [substr($message, 0, 60), true]),
                $failed,
            ],
            'sends a short handshake' => [self::handshake(static fn (): array => ["\0\x20" . str_repeat('k', 32), false]), $failed],
            'sends an empty handshake' => [self::handshake(static fn (): array => ["\0\0", false]), $failed],
            'tampers with the handshake' => [
                self::handshake(static function (string $message): array {
                    $message[120] = chr(ord($message[120]) ^ 1);

                    return [$message, false];
                }),
                $failed,
            ],
            'shakes hands with a key of low order' => [
                self::handshake(
                    static fn (string $message): array => [substr_replace($message, str_repeat("\0", 32), 2, 32), false],
                ),
                $failed,
            ],
            'sends garbage for a handshake' => [
                self::handshake(static fn (): array => ["\xFF\xFF" . random_bytes(65535), false]),
                $failed,
            ],
            'shows a key that is not its own' => [self::impostor(...), $failed],
            'tampers with what follows' => [
                $after(static fn ($secure, Node $node, Socket $socket) => $socket->post("\0\x20" . random_bytes(32))),
                [DecryptionFailed::class],
            ],
            'sends a message shorter than its tag' => [
                $after(static fn ($secure, Node $node, Socket $socket) => $socket->post("\0\x03abc")),
                [DecryptionFailed::class],
            ],
            'closes in the middle of a message' => [
                $after(static function ($secure, Node $node, Socket $socket): void {
                    $socket->post("\0\x20abc");
                    $socket->close();
                }),
                $gone,
            ],
            'sends garbage in place of yamux' => [$frames(random_bytes(60000)), $wrong],
            'sends data that nobody asked for' => [
                $frames((new Frame(Frame::DATA, 0, 1, 60000))->encode() . str_repeat('x', 60000)),
                [...$wrong, DeadlinePassed::class],
            ],
            'opens streams without end' => [
                $frames(implode('', array_map(
                    static fn (int $number): string => (new Frame(Frame::DATA, Frame::SYN, 2 * $number, 0))->encode(),
                    range(1, 4000),
                ))),
                [...$wrong, DeadlinePassed::class],
            ],
            'pings without end' => [
                $frames(str_repeat((new Frame(Frame::PING, Frame::SYN, 0, 1))->encode(), 4000)),
                [...$wrong, DeadlinePassed::class],
            ],
            'says good-bye with an error' => [$frames((new Frame(Frame::GO_AWAY, 0, 0, 2))->encode()), $gone],
            'resets the stream' => [$serve(Handlers::all()['/test/reset']), [StreamReset::class]],
            'ends the connection' => [
                static fn (Socket $socket, Node $node) => $node->serve(
                    $node->upgrade($socket),
                    ['/test/talk' => static fn () => $socket->close()],
                ),
                $gone,
            ],
        ];
    }

    public function testEmptyNoiseMessagesWithoutEndAreGivenUpAtTheDeadline(): void
    {
        $node = $this->scripted(static function (Socket $socket, Node $node): void {
            $secure = $node->secure($socket);
            // An empty plaintext is a message all the same.
            $seal = \Closure::bind(fn (): string => $this->seal(''), $secure, $secure::class);
            while (true) {
                $batch = '';
                for ($number = 0; $number < 500; $number++) {
                    $batch .= $seal();
                }
                $socket->write($batch, Node::deadline());
            }
        });
        $this->expectException(DeadlinePassed::class);

        $this->host->dial($node->address(), Deadline::after(0.3));
    }

    public function testEndlessDataNeverHoldsMoreThanTheWindow(): void
    {
        $stream = $this->host->dial($this->honest()->address(), Deadline::after(10))->openStream('/test/endless', Deadline::after(10));
        $before = memory_get_usage();
        $deadline = Deadline::after(0.3);
        $count = 0;
        try {
            while (true) {
                $count += strlen($stream->read(65536, $deadline));
            }
        } catch (DeadlinePassed) {
            self::assertGreaterThan(1 << 20, $count);
            self::assertLessThan(self::MEMORY_BYTES, memory_get_usage() - $before);
        }
    }

    public function testAConnectionThatThePeerEndedIsNotUsedAgain(): void
    {
        $node = $this->honest();
        $connection = $this->host->dial($node->address(), Deadline::after(10));
        $connection->ping(Deadline::after(10));
        $node->sessions[0]->close();
        try {
            $connection->ping(Deadline::after(10));
            self::fail('a closed connection answered');
        } catch (ConnectionClosed) {
            self::assertFalse($connection->isOpen());
        }
        $this->expectException(ConnectionClosed::class);

        $connection->openStream('/test/echo', Deadline::after(10));
    }

    private function talk(Node $node, Deadline $deadline): void
    {
        $stream = $this->host->dial($node->address(), $deadline)->openStream('/test/talk', $deadline);
        $stream->write('hello', $deadline);
        while ($stream->read(65536, $deadline) !== '') {
        }
    }

    /**
     * Shake hands, but change what is sent: the frame with its prefix, and whether to close then.
     *
     * @param \Closure(string): array{string, bool} $change
     */
    private static function handshake(\Closure $change): \Closure
    {
        return static function (Socket $socket, Node $node) use ($change): void {
            Multistream::accept($socket, ['/noise'], Node::deadline());
            $static = random_bytes(32);
            $state = new HandshakeState(false, $static);
            $state->readMessage(substr(Framing::readExactly($socket, 34, Node::deadline()), 2));
            $message = $state->writeMessage(HandshakePayload::sign($node->identity, sodium_crypto_scalarmult_base($static)));
            [$bytes, $close] = $change(pack('n', strlen($message)) . $message);
            $socket->post($bytes);
            if ($close) {
                $socket->close();
            }
        };
    }

    /** Send the payload that the true peer signed, but for another Noise key. */
    private static function impostor(Socket $socket, Node $node): void
    {
        Multistream::accept($socket, ['/noise'], Node::deadline());
        $state = new HandshakeState(false, random_bytes(32));
        $state->readMessage(substr(Framing::readExactly($socket, 34, Node::deadline()), 2));
        $message = $state->writeMessage(HandshakePayload::sign($node->identity, sodium_crypto_scalarmult_base(random_bytes(32))));
        $socket->post(pack('n', strlen($message)) . $message);
    }

    private function honest(): Node
    {
        return $this->nodes[] = Node::honest($this->loop, Handlers::all());
    }

    /** @param \Closure(Socket, Node): mixed $script */
    private function scripted(\Closure $script): Node
    {
        return $this->nodes[] = Node::scripted($this->loop, static function (Socket $socket, Node $node) use ($script): void {
            $script($socket, $node);
        });
    }

    private function closedAddress(): Multiaddr
    {
        $node = $this->honest();
        $address = $node->address();
        $node->close();

        return $address;
    }
}
