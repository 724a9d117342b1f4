<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\PeerId;
use Plasm\Tests\Support\FakeClock;
use Plasm\Transport\KeptStream;
use Plasm\Transport\KeptStreams;
use Plasm\Transport\UnixStream;

/** A stream between two conversations: used again as long as the node has neither closed it nor spoken on it. */
final class KeptStreamsTest extends TestCase
{
    private const PATH = '/run/plasm/plasmd.sock';
    private const KEEP_S = 5;

    private FakeClock $clock;
    private KeptStreams $streams;
    private KeptStream $kept;

    /** @var resource */
    private $theirs;

    protected function setUp(): void
    {
        $this->clock = new FakeClock();
        $this->streams = new KeptStreams($this->clock);
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertIsArray($pair);
        [$ours, $this->theirs] = $pair;
        $peer = PeerId::parse(Vectors::load('identities')['keys'][0]['peer_id']);
        $this->kept = new KeptStream(UnixStream::ofSocket($ours), $peer, 'plasm/1', self::KEEP_S);
        $this->streams->put(self::PATH, $this->kept);
    }

    public function testAStreamIsUsedAgainOnce(): void
    {
        self::assertSame($this->kept, $this->streams->take(self::PATH, null));
        self::assertNull($this->streams->take(self::PATH, null));
    }

    public function testAnotherSocketsStreamIsNotUsed(): void
    {
        self::assertNull($this->streams->take('/tmp/other.sock', null));
    }

    public function testAStreamThatTheNodeHasClosedIsNotUsed(): void
    {
        fclose($this->theirs);

        self::assertNull($this->streams->take(self::PATH, null));
    }

    public function testAStreamOnWhichTheNodeHasSpokenIsNotUsed(): void
    {
        fwrite($this->theirs, 'x');

        self::assertNull($this->streams->take(self::PATH, null));
    }

    public function testAStreamIsGivenUpBeforeTheNodeClosesIt(): void
    {
        $this->clock->advance(self::KEEP_S - 0.5);

        self::assertNull($this->streams->take(self::PATH, null));
    }
}
