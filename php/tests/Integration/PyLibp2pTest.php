<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Kademlia\Client;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\Time\Deadline;

/** The client against hosts that are not ours. */
final class PyLibp2pTest extends TestCase
{
    private const HOSTS = 8;

    private static ?PyLibp2p $hosts = null;

    private Host $host;

    public static function setUpBeforeClass(): void
    {
        $python = PyLibp2p::interpreter();
        self::$hosts = $python === null ? null : PyLibp2p::start($python, self::HOSTS);
    }

    public static function tearDownAfterClass(): void
    {
        self::$hosts?->close();
        self::$hosts = null;
    }

    protected function setUp(): void
    {
        if (self::$hosts === null) {
            self::markTestSkipped('no Python with libp2p: pip install libp2p==0.8.1, or name one in PLASM_TEST_PYTHON');
        }
        $this->host = new Host();
    }

    protected function tearDown(): void
    {
        if (isset($this->host)) {
            $this->host->close();
        }
    }

    public function testAnEchoOf200Kilobytes(): void
    {
        $sent = random_bytes(200_000);
        $deadline = Deadline::after(30);
        $stream = $this->dial()->openStream('/test/echo/1.0.0', $deadline, pack('J', strlen($sent)));
        $stream->write($sent, $deadline);

        self::assertSame(hash('sha256', $sent), hash('sha256', Framing::readExactly($stream, strlen($sent), $deadline)));
        self::assertSame('', $stream->read(1, $deadline));
    }

    public function testAnUploadOf20Megabytes(): void
    {
        $sent = random_bytes(20_000_000);
        $deadline = Deadline::after(60);
        $connection = $this->dial();
        $before = memory_get_usage();
        $stream = $connection->openStream('/test/sink/1.0.0', $deadline, pack('J', strlen($sent)));
        $stream->write($sent, $deadline);

        self::assertSame(hash('sha256', $sent), bin2hex(Framing::readExactly($stream, 32, $deadline)));
        self::assertLessThan(2_000_000, memory_get_usage() - $before);
    }

    public function testADownloadOf20Megabytes(): void
    {
        $deadline = Deadline::after(60);
        $stream = $this->dial()->openStream('/test/source/1.0.0', $deadline, pack('J', 20_000_000));
        $count = 0;
        $peak = 0;
        $before = memory_get_usage();
        while (($bytes = $stream->read(1 << 16, $deadline)) !== '') {
            $count += strlen($bytes);
            $peak = max($peak, memory_get_usage() - $before);
        }

        self::assertSame(20_000_000, $count);
        self::assertLessThan(8_000_000, $peak);
    }

    public function testManyStreamsOnOneConnection(): void
    {
        $deadline = Deadline::after(60);
        $connection = $this->dial();
        for ($number = 0; $number < 200; $number++) {
            $stream = $connection->openStream('/test/sink/1.0.0', $deadline, pack('J', 5) . 'hello');
            $stream->closeWrite();
            self::assertSame(hash('sha256', 'hello'), bin2hex(Framing::readExactly($stream, 32, $deadline)));
            $stream->reset();
        }
        self::assertGreaterThan(0.0, $connection->ping($deadline));
    }

    public function testAPeerWithAnotherKeyIsRefused(): void
    {
        $this->expectException(WrongPeer::class);

        $this->host->dial($this->addresses()[0]->withPeer(Identity::ephemeral()->peer), Deadline::after(30));
    }

    public function testAProtocolThatTheHostDoesNotSpeak(): void
    {
        $this->expectException(UnsupportedProtocol::class);

        $this->dial()->openStream('/test/unknown/1.0.0', Deadline::after(30));
    }

    public function testTheProviderIsFoundFromTheOtherEndOfTheTable(): void
    {
        $addresses = $this->addresses();
        $provider = $addresses[self::HOSTS - 1];
        $client = new Client($this->host, [$addresses[0]], dialPrivate: true);
        $found = array_filter(
            [...$client->findProviders(self::$hosts->key, Deadline::after(30))],
            static fn (PeerInfo $info): bool => $info->peer == $provider->peer(),
        );

        self::assertCount(1, $found);
        $connection = $this->host->race(array_values($found)[0]->addresses, Deadline::after(30));
        self::assertEquals($provider->peer(), $connection->remotePeer());
    }

    public function testAPeerIsFoundByItsId(): void
    {
        $addresses = $this->addresses();
        $sought = $addresses[self::HOSTS - 2];
        $client = new Client($this->host, [$addresses[0]], dialPrivate: true);
        $info = $client->findPeer($sought->peer() ?? self::fail('no peer'), Deadline::after(30));

        self::assertNotNull($info);
        self::assertContains((string) $sought, array_map('strval', $info->addresses));
        self::assertNull($client->findPeer(Identity::ephemeral()->peer, Deadline::after(30)));
    }

    public function testAKeyThatNobodyProvides(): void
    {
        $client = new Client($this->host, [$this->addresses()[0]], dialPrivate: true);

        self::assertSame([], [...$client->findProviders("\x12\x20" . random_bytes(32), Deadline::after(30))]);
    }

    private function dial(): ConnectionInterface
    {
        return $this->host->dial($this->addresses()[0], Deadline::after(30));
    }

    /** @return list<Multiaddr> */
    private function addresses(): array
    {
        return self::$hosts?->addresses ?? [];
    }
}
