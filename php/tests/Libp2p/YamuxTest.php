<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\StreamClosed;
use Plasm\Libp2p\Exception\StreamReset;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Yamux\Frame;
use Plasm\Libp2p\Yamux\Session;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Time\Deadline;

final class YamuxTest extends TestCase
{
    private Loop $loop;
    private Socket $near;
    private Socket $far;

    private int $drained = 0;
    private Signal $progress;

    protected function setUp(): void
    {
        $this->loop = new Loop();
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertNotFalse($pair);
        $this->near = new Socket($this->loop, $pair[0]);
        $this->far = new Socket($this->loop, $pair[1]);
    }

    public function testAFrameIsTwelveBytesInNetworkOrder(): void
    {
        $frame = new Frame(Frame::WINDOW_UPDATE, Frame::SYN | Frame::FIN, 0x01020304, 0x0A0B0C0D);

        self::assertSame('0001000501020304' . '0a0b0c0d', bin2hex($frame->encode()));
        self::assertEquals($frame, Frame::decode($frame->encode()));
    }

    public function testASendThatFailsEndsTheStreamsWithItsCause(): void
    {
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertNotFalse($pair);
        $socket = new Socket($this->loop, $pair[0]);
        $session = new Session($socket, $this->loop, true);
        $stream = $session->openStream();
        $socket->post(str_repeat("\0", 1024 * 1024 - 12)); // more than the kernel takes: the loop sends the rest
        $reader = $this->loop->spawn(static fn () => $stream->read(1, Deadline::after(5)));
        $this->loop->poll();
        stream_set_blocking($pair[1], false);
        self::assertNotSame('', stream_get_contents($pair[1])); // there is room to send again
        stream_socket_shutdown($pair[1], STREAM_SHUT_RD);
        while (!$reader->done()) {
            $this->loop->poll();
        }

        self::assertSame('the connection ended while bytes were sent: broken pipe', $reader->error()?->getMessage());
        self::assertFalse($session->isOpen());
    }

    /** @dataProvider wrongHeaders */
    #[DataProvider('wrongHeaders')]
    public function testAWrongHeaderEndsTheSession(string $hex): void
    {
        [$session] = $this->half();
        $this->far->post(sodium_hex2bin($hex));

        $this->assertEnds($session, ProtocolViolation::class);
    }

    /** @return array<string, array{string}> */
    public static function wrongHeaders(): array
    {
        return [
            'another version' => ['010000000000000100000000'],
            'an unknown type' => ['000400000000000100000000'],
            'data on stream 0' => ['000000000000000000000000'],
            'a ping on a stream' => ['000200010000000100000000'],
            'a stream that the peer may not open' => ['000000010000000300000000'],
            'data for nobody, without end' => ['0000000000000009ffffffff'],
        ];
    }

    public function testManyStreamsInBothDirections(): void
    {
        [$client] = $this->both();
        $sent = [];
        /** @var TaskGroup<string> $echoes */
        $echoes = new TaskGroup($this->loop);
        for ($number = 0; $number < 10; $number++) {
            $sent["stream $number"] = $bytes = random_bytes(300_000 + $number);
            $stream = $client->openStream();
            $this->loop->spawn(static function () use ($stream, $bytes): void {
                $stream->write($bytes, Deadline::after(20));
                $stream->closeWrite();
            });
            $echoes->start("stream $number", static function () use ($stream): string {
                $received = '';
                while (($part = $stream->read(50_000, Deadline::after(20))) !== '') {
                    $received .= $part;
                }

                return $received;
            });
        }
        while ($echoes->count() > 0) {
            [$name, $received, $error] = $echoes->next(Deadline::after(20), 'an echo');
            self::assertNull($error);
            self::assertSame(hash('sha256', $sent[$name]), hash('sha256', (string) $received));
        }
    }

    public function testAPing(): void
    {
        [$client, $server] = $this->both();

        self::assertGreaterThan(0.0, $client->ping(Deadline::after(5)));
        self::assertGreaterThan(0.0, $server->ping(Deadline::after(5)));
        self::assertGreaterThan(0.0, $client->ping(Deadline::after(5)));
    }

    public function testAPingIsAnsweredWithItsValue(): void
    {
        $this->half();
        $this->far->post((new Frame(Frame::PING, Frame::SYN, 0, 0xDEADBEEF))->encode());

        self::assertEquals(new Frame(Frame::PING, Frame::ACK, 0, 0xDEADBEEF), $this->frame());
    }

    public function testAWriterWaitsForCreditAndNoLonger(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $window = Session::INITIAL_WINDOW_BYTES;
        self::assertSame(Frame::SYN, $this->frame()->flags);
        $this->drain();
        try {
            $stream->write(str_repeat('x', $window + 1), Deadline::after(0.2));
            self::fail('wrote over the window');
        } catch (DeadlinePassed $exception) {
            self::assertSame('the peer to make room on a stream', $exception->waitedFor);
        }
        $this->far->post((new Frame(Frame::WINDOW_UPDATE, 0, 1, 5))->encode());
        $stream->write('hello', Deadline::after(5));
        $enough = Deadline::after(5);
        while ($this->drained < $window + 5) {
            $this->progress->wait($enough, 'what was written');
        }
        self::assertSame($window + 5, $this->drained);
    }

    public function testAReaderGivesCreditAsItReadsAndNotBefore(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->frame();
        $half = str_repeat('x', 1 << 19);
        $this->send(1, 0, $half);
        self::assertSame(1 << 19, strlen(Framing::readExactly($stream, 1 << 19, Deadline::after(5))));

        self::assertEquals(new Frame(Frame::WINDOW_UPDATE, 0, 1, 1 << 19), $this->frame());
        $this->expectException(DeadlinePassed::class);
        $this->send(1, 0, 'x');
        $stream->read(1, Deadline::after(5));
        $this->far->read(1, Deadline::after(0.05));
    }

    public function testAPeerThatSendsOverTheWindowIsCutOff(): void
    {
        [$session] = $this->half();
        $session->openStream();
        $before = memory_get_usage();
        $this->loop->spawn(function (): void {
            while (true) {
                $this->send(1, 0, str_repeat('x', 65536));
            }
        });

        $this->assertEnds($session, ProtocolViolation::class);
        self::assertLessThan(16_000_000, memory_get_usage() - $before);
    }

    public function testAHalfClosedStream(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->frame();
        $stream->closeWrite();
        $stream->closeWrite();
        self::assertEquals(new Frame(Frame::WINDOW_UPDATE, Frame::FIN, 1, 0), $this->frame());
        $this->send(1, Frame::FIN, 'last words');

        self::assertSame('last words', $stream->read(100, Deadline::after(5)));
        self::assertSame('', $stream->read(100, Deadline::after(5)));
        self::assertSame('', $stream->read(100, Deadline::after(5)));
        $this->expectException(StreamClosed::class);

        $stream->write('more', Deadline::after(5));
    }

    public function testDataAfterTheEndIsNotTaken(): void
    {
        [$session] = $this->half();
        $session->openStream();
        $this->send(1, Frame::FIN, '');
        $this->send(1, 0, 'x');

        $this->assertEnds($session, ProtocolViolation::class);
    }

    public function testWhatWasReadyBeforeTheConnectionWasLostCanBeRead(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->send(1, Frame::FIN, 'all of it');
        $this->loop->spawn(fn () => $this->far->close());
        $this->assertEnds($session, ConnectionClosed::class);

        self::assertSame('all of it', $stream->read(100, Deadline::after(5)));
        self::assertSame('', $stream->read(100, Deadline::after(5)));
    }

    public function testAResetFromThePeer(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $other = $session->openStream();
        $this->far->post((new Frame(Frame::WINDOW_UPDATE, Frame::RST, 1, 0))->encode());
        try {
            $stream->read(1, Deadline::after(5));
            self::fail('read from a stream that was reset');
        } catch (StreamReset $exception) {
            self::assertSame('the peer reset the stream', $exception->getMessage());
        }
        $this->send(3, 0, 'still here');

        self::assertSame('still here', $other->read(100, Deadline::after(5)));
    }

    public function testAResetFromThisSideDiscardsWhatStillComes(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->frame();
        $stream->reset();
        $stream->reset();
        self::assertEquals(new Frame(Frame::WINDOW_UPDATE, Frame::RST, 1, 0), $this->frame());
        $this->send(1, 0, str_repeat('late', 100));
        $other = $session->openStream();
        $this->send(3, 0, 'hello');

        self::assertSame('hello', $other->read(100, Deadline::after(5)));
        $this->expectException(StreamReset::class);
        $stream->read(1, Deadline::after(5));
    }

    public function testAStreamThatWasClosedEndsInPeaceAndDropsWhatStillComes(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->frame();
        $stream->close();
        $stream->close();
        self::assertEquals(new Frame(Frame::WINDOW_UPDATE, Frame::FIN, 1, 0), $this->frame());
        $this->send(1, Frame::FIN, str_repeat('late', 100));
        $other = $session->openStream();
        self::assertSame(3, $this->frame()->stream);
        $this->send(3, 0, 'hello');

        self::assertSame('hello', $other->read(100, Deadline::after(5)));
        $this->expectException(StreamClosed::class);
        $stream->read(1, Deadline::after(5));
    }

    public function testClosingStreamsThatThePeerNeverEndsLeavesRoomForMore(): void
    {
        [$session] = $this->half();
        for ($number = 0; $number < 500; $number++) {
            $session->openStream()->close();
        }

        self::assertTrue($session->isOpen());
    }

    public function testAStreamThatThePeerOpensIsRefusedWithAReset(): void
    {
        $this->half();
        $this->send(2, Frame::SYN, 'unasked');

        self::assertEquals(new Frame(Frame::WINDOW_UPDATE, Frame::RST, 2, 0), $this->frame());
    }

    public function testGoAwayLeavesOpenStreamsAlone(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->far->post((new Frame(Frame::GO_AWAY, 0, 0, Frame::NORMAL))->encode());
        $this->send(1, 0, 'the rest');

        self::assertSame('the rest', $stream->read(100, Deadline::after(5)));
        self::assertFalse($session->isOpen());
        $this->expectException(ConnectionClosed::class);
        $session->openStream();
    }

    public function testGoAwayWithAnErrorEndsAll(): void
    {
        [$session] = $this->half();
        $stream = $session->openStream();
        $this->far->post((new Frame(Frame::GO_AWAY, 0, 0, Frame::PROTOCOL_ERROR))->encode());
        $this->expectException(ConnectionClosed::class);

        $stream->read(100, Deadline::after(5));
    }

    public function testClosingSaysGoodBye(): void
    {
        [$session] = $this->half();
        $session->close();
        $session->close();

        self::assertEquals(new Frame(Frame::GO_AWAY, 0, 0, Frame::NORMAL), $this->frame());
        self::assertSame('', $this->far->read(1, Deadline::after(5)));
    }

    public function testAPeerThatAsksForAnswersButTakesNoneIsCutOff(): void
    {
        [$session] = $this->half();
        $before = memory_get_usage();
        $pings = str_repeat((new Frame(Frame::PING, Frame::SYN, 0, 1))->encode(), 5000);
        $this->loop->spawn(function () use ($pings): void {
            while (true) {
                $this->far->write($pings, Deadline::after(20));
            }
        });

        $this->assertEnds($session, ProtocolViolation::class);
        self::assertLessThan(8_000_000, memory_get_usage() - $before);
    }

    public function testTheNumberOfStreamsIsBounded(): void
    {
        [$session] = $this->half();
        $this->expectException(ConnectionClosed::class);
        for ($number = 0; $number < 200; $number++) {
            $session->openStream();
        }
    }

    public function testGarbageNeverBreaksASession(): void
    {
        mt_srand(11);
        $ended = 0;
        for ($round = 0; $round < 300; $round++) {
            $this->setUp();
            [$session] = $this->half();
            $session->openStream();
            $garbage = '';
            for ($frame = 0; $frame < 5; $frame++) {
                $header = new Frame(mt_rand(0, 3), mt_rand(0, 15), mt_rand(0, 4), mt_rand(0, 30));
                $garbage .= $header->encode() . substr(random_bytes(30), mt_rand(0, 30));
            }
            $this->far->post($garbage);
            $this->far->close();
            $this->assertEnds($session, null);
            $ended++;
        }

        self::assertSame(300, $ended);
    }

    private function drain(): void
    {
        $this->drained = 0;
        $this->progress = new Signal($this->loop);
        $this->loop->spawn(function (): void {
            while (true) {
                $header = Frame::decode(Framing::readExactly($this->far, Frame::HEADER_BYTES, Deadline::after(20)));
                $this->drained += strlen(Framing::readExactly($this->far, $header->length, Deadline::after(20)));
                $this->progress->notify();
            }
        });
    }

    /** @return array{Session} */
    private function half(): array
    {
        return [new Session($this->near, $this->loop, true)];
    }

    /** @return array{Session, Session} the second one echoes */
    private function both(): array
    {
        $server = new Session($this->far, $this->loop, false, onStream: function (Stream $stream): void {
            $this->loop->spawn(static function () use ($stream): void {
                while (($bytes = $stream->read(65536, Deadline::after(20))) !== '') {
                    $stream->write($bytes, Deadline::after(20));
                }
                $stream->closeWrite();
            });
        });

        return [new Session($this->near, $this->loop, true), $server];
    }

    private function frame(): Frame
    {
        return Frame::decode(Framing::readExactly($this->far, Frame::HEADER_BYTES, Deadline::after(5)));
    }

    private function send(int $stream, int $flags, string $bytes): void
    {
        $frame = (new Frame(Frame::DATA, $flags, $stream, strlen($bytes)))->encode() . $bytes;
        \Fiber::getCurrent() === null ? $this->far->post($frame) : $this->far->write($frame, Deadline::after(20));
    }

    /** @param class-string<\Throwable>|null $class null for any that this library throws */
    private function assertEnds(Session $session, ?string $class): void
    {
        try {
            $session->ping(Deadline::after(20));
            self::fail('the session goes on');
        } catch (Libp2pException $exception) {
            self::assertInstanceOf($class ?? Libp2pException::class, $exception);
            self::assertNotInstanceOf(DeadlinePassed::class, $exception);
        }
        self::assertFalse($session->isOpen());
    }
}
