<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\ConnectionLost;
use Plasm\Exception\NoDaemon;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Retries;
use Plasm\RetryPolicy;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Support\FakeClock;
use Plasm\Tests\Support\FakeConversation;
use Plasm\Tests\Support\LocalServer;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Timeouts;
use Plasm\Transport\LocalTransport;
use Plasm\Transport\UnixStream;

final class LocalTransportTest extends TestCase
{
    private const HELLO = "/phase/job/1.0.0\n";

    private string $directory;

    /** @var array<string, string|false> */
    private array $environment = [];

    /** @var list<LocalServer> */
    private array $servers = [];

    protected function setUp(): void
    {
        if (glob('/run/plasm/*.sock') !== []) {
            self::markTestSkipped('a daemon of this machine would be found too');
        }
        $this->directory = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(6));
        mkdir("$this->directory/plasm", 0700, true);
        foreach (['PLASM_SOCKET', 'XDG_RUNTIME_DIR'] as $name) {
            $this->environment[$name] = getenv($name);
        }
        putenv('PLASM_SOCKET');
        putenv("XDG_RUNTIME_DIR=$this->directory");
    }

    protected function tearDown(): void
    {
        if (!isset($this->directory)) {
            return;
        }
        foreach ($this->servers as $server) {
            $server->stop();
        }
        foreach ($this->environment as $name => $value) {
            putenv($value === false ? $name : "$name=$value");
        }
        array_map(unlink(...), [...(glob("$this->directory/plasm/*") ?: []), ...(glob("$this->directory/*.sock") ?: [])]);
        rmdir("$this->directory/plasm");
        rmdir($this->directory);
    }

    public function testWithoutADaemonTheSearchedPathsAreNamed(): void
    {
        $user = posix_geteuid();
        $private = $user === 0 ? '' : (is_dir("/run/user/$user") ? "/run/user/$user/plasm or " : '') . "/tmp/plasm-$user or ";
        $places = "$this->directory/plasm or {$private}/run/plasm";

        $exception = $this->failure(new LocalTransport(clock: new FakeClock()));

        self::assertInstanceOf(NoDaemon::class, $exception);
        self::assertSame("no daemon runs here: there is no socket at $places (start one with: plasmd --detach)", $exception->getMessage());
        self::assertSame('start one with: plasmd --detach', $exception->hint);
    }

    public function testAStaleSocketIsReportedAsByTheCommandLine(): void
    {
        $path = "$this->directory/plasm/plasmd.sock";
        $server = stream_socket_server("unix://$path");
        self::assertIsResource($server);
        fclose($server);

        $exception = $this->failure(new LocalTransport(clock: new FakeClock()));

        self::assertInstanceOf(Unreachable::class, $exception);
        self::assertStringStartsWith("no daemon answers on $path: Connection refused", $exception->getMessage());
        self::assertSame('start one with: plasmd --detach', $exception->hint);
    }

    public function testAForbiddenSocketIsReportedAsByTheCommandLine(): void
    {
        $path = "$this->directory/plasm/plasmd.sock";
        $server = stream_socket_server("unix://$path");
        self::assertIsResource($server);
        chmod($path, 0);
        $isRoot = posix_geteuid() === 0;
        if ($isRoot) {
            chmod($this->directory, 0711);
            chmod("$this->directory/plasm", 0711);
            chgrp($path, 1);
        }
        $groups = posix_getgrgid((int) filegroup($path));
        self::assertIsArray($groups);
        try {
            self::assertTrue(!$isRoot || posix_seteuid(65_534));
            $exception = $this->failure(new LocalTransport($path, clock: new FakeClock()));
        } finally {
            if ($isRoot) {
                posix_seteuid(0);
            }
            fclose($server);
        }

        self::assertInstanceOf(Unreachable::class, $exception);
        self::assertStringStartsWith("the socket $path is not open to this user (", $exception->getMessage());
        self::assertStringContainsString("sudo usermod -a -G {$groups['name']} \$USER", (string) $exception->hint);
    }

    /** As after `plasmd &` in a shell. The other process is a daemon of which nothing is there yet but its mark. */
    public function testADaemonThatIsStartingIsWaitedFor(): void
    {
        $mark = fopen("$this->directory/plasm/plasmd.sock.starting", 'c');
        self::assertIsResource($mark);
        self::assertTrue(flock($mark, LOCK_EX | LOCK_NB));
        $clock = new FakeClock();
        $listens = function () use ($clock): void {
            if (count($clock->slept) === 100) { // 5 s, longer than a client waits where no daemon is starting
                $this->serve('plasm/plasmd.sock', self::HELLO . $this->hello());
            }
        };
        $transport = new LocalTransport(clock: new class ($clock, $listens) implements ClockInterface {
            public function __construct(private FakeClock $clock, private \Closure $tick)
            {
            }

            public function now(): float
            {
                return $this->clock->now();
            }

            public function sleep(float $seconds): void
            {
                $this->clock->sleep($seconds);
                ($this->tick)();
            }
        });

        $agent = $transport->open(null, $this->deadline())->agent();

        fclose($mark);
        self::assertSame('test', $agent);
        self::assertCount(100, $clock->slept);
    }

    public function testTheMarkOfADaemonThatDiedIsNotWaitedFor(): void
    {
        touch("$this->directory/plasm/plasmd.sock.starting");
        $clock = new FakeClock();

        $exception = $this->failure(new LocalTransport(clock: $clock));

        self::assertInstanceOf(NoDaemon::class, $exception);
        self::assertLessThan(2.0, array_sum($clock->slept));
    }

    public function testPlasmdSockComesBeforeOthers(): void
    {
        $this->left('plasm/another.sock');
        $this->left('plasm/plasmd.sock');

        self::assertStringContainsString(
            "no daemon answers on $this->directory/plasm/plasmd.sock",
            $this->failure(new LocalTransport())->getMessage(),
        );
    }

    public function testTheSocketThatIsNamedIsTheOnlyOne(): void
    {
        $this->serve('plasm/plasmd.sock', self::HELLO . $this->hello());
        putenv("PLASM_SOCKET=$this->directory/named.sock");

        self::assertStringContainsString("$this->directory/named.sock", $this->failure(new LocalTransport())->getMessage());
    }

    public function testASocketThatADeadDaemonLeftIsPassedOver(): void
    {
        $this->left('plasm/plasmd.sock');
        $this->serve('plasm/second.sock', self::HELLO . $this->hello());

        $conversation = (new LocalTransport())->open(null, $this->deadline());
        $nodes = (new LocalTransport())->discover($this->deadline());

        self::assertSame('test', $conversation->agent());
        self::assertSame(["unix:$this->directory/plasm/second.sock"], array_column($nodes, 'address'));
    }

    /** @dataProvider foreignPlaces */
    #[DataProvider('foreignPlaces')]
    public function testADaemonOfAnotherUserIsNotBelieved(string $named, string $foreign): void
    {
        if (posix_geteuid() !== 0) {
            self::markTestSkipped('only root can give files away');
        }
        mkdir("$this->directory/plasm/own");
        mkdir("$this->directory/plasm/theirs");
        $this->serve('plasm/theirs/plasmd.sock', self::HELLO . $this->hello());
        symlink("$this->directory/plasm/theirs/plasmd.sock", "$this->directory/plasm/own/link.sock");
        symlink("$this->directory/plasm/theirs", "$this->directory/plasm/linked");
        $path = "$this->directory/plasm/$named";
        try {
            self::assertSame('test', (new LocalTransport($path))->open(null, $this->deadline())->agent());
            foreach (explode(' ', $foreign) as $place) {
                is_link("$this->directory/plasm/$place")
                    ? lchown("$this->directory/plasm/$place", 65_534)
                    : chown("$this->directory/plasm/$place", 65_534);
            }
            $failure = $this->failure(new LocalTransport($path));
            $trusting = new LocalTransport($path, trustedUser: 65_534);

            self::assertInstanceOf(Unreachable::class, $failure);
            self::assertStringContainsString('is run by the user 65534, not by you or root', $failure->getMessage());
            self::assertSame('test', $trusting->open(null, $this->deadline())->agent());
        } finally {
            array_map(unlink(...), ["$this->directory/plasm/own/link.sock", "$this->directory/plasm/linked"]);
            unlink("$this->directory/plasm/theirs/plasmd.sock");
            array_map(rmdir(...), ["$this->directory/plasm/own", "$this->directory/plasm/theirs"]);
        }
    }

    /** @return array<string, array{string, string}> */
    public static function foreignPlaces(): array
    {
        return [
            'the socket' => ['theirs/plasmd.sock', 'theirs/plasmd.sock'],
            'its directory' => ['theirs/plasmd.sock', 'theirs'],
            'a link to it' => ['own/link.sock', 'own/link.sock'],
            'the directory of a link' => ['own/link.sock', 'own'],
            'what a link leads to' => ['own/link.sock', 'theirs/plasmd.sock'],
            'the directory that a link leads to' => ['own/link.sock', 'theirs'],
            'the directory that a linked one is' => ['linked/plasmd.sock', 'theirs'],
        ];
    }

    public function testOfSeveralDaemonsTheOneThatIsAskedForIsFound(): void
    {
        $second = ReceiptSigner::withFreshKey()->peer;
        $this->serve('plasm/plasmd.sock', self::HELLO . $this->hello());
        $this->serve('plasm/second.sock', self::HELLO . $this->hello((string) $second));

        $found = (new LocalTransport())->open($second, $this->deadline());

        self::assertTrue($found->peer()->equals($second));
        self::assertCount(2, (new LocalTransport())->discover($this->deadline()));
        $this->expectException(PeerMismatch::class);
        (new LocalTransport())->open(ReceiptSigner::withFreshKey()->peer, $this->deadline());
    }

    /** @dataProvider strangers */
    #[DataProvider('strangers')]
    public function testAnotherServerGetsNoMessages(string $says, bool $closes, string $exception, string $message): void
    {
        $this->serve('other.sock', $says, $closes);
        $transport = new LocalTransport("$this->directory/other.sock", new Timeouts(connectS: 0.5));

        $failure = $this->failure($transport);

        self::assertInstanceOf($exception, $failure);
        self::assertStringContainsString($message, $failure->getMessage());
    }

    /** @return array<string, array{string, bool, class-string, string}> */
    public static function strangers(): array
    {
        return [
            'another protocol' => ["na\n", false, Unreachable::class, 'does not speak /phase/job/1.0.0'],
            'a web server' => [str_repeat('<html>', 100), false, Unreachable::class, 'is no Plasm daemon'],
            'one that closes' => ['', true, Unreachable::class, 'is no Plasm daemon'],
            'one that says nothing' => ['', false, TimedOut::class, 'waited 0.5 s for the daemon to agree on the protocol'],
            'one that then says nothing' => [self::HELLO, false, TimedOut::class, 'for the node to introduce itself (connect'],
        ];
    }

    public function testASilentDaemonKeepsNobodyFromAnother(): void
    {
        $this->serve('plasm/plasmd.sock', '');
        $this->serve('plasm/second.sock', self::HELLO . $this->hello());
        $transport = new LocalTransport(timeouts: new Timeouts(connectS: 0.3));

        self::assertSame('test', $transport->open(null, $this->deadline())->agent());
    }

    /** @dataProvider attempts */
    #[DataProvider('attempts')]
    public function testADaemonThatSaysNothingIsAskedAgain(int $attempts, float $wallTimeS, float $leastS, float $mostS): void
    {
        $clock = new FakeClock();
        $retries = new Retries(new RetryPolicy($attempts), $clock);
        $began = $clock->now();
        $asked = 0;
        $silent = static function () use ($clock, &$asked): void {
            $asked++;
            $clock->sleep(5.0);
            throw new TimedOut('the node to introduce itself', 5.0, 'connect', isLocal: true);
        };
        try {
            $retries->run(new Deadline($clock, null), $silent, wallTimeS: $wallTimeS);
            self::fail('it answered');
        } catch (TimedOut) {
            $elapsed = $clock->now() - $began;
            self::assertGreaterThanOrEqual($leastS, $elapsed);
            self::assertLessThanOrEqual($mostS, $elapsed);
            self::assertSame($attempts === 1, $asked === 1);
        }
    }

    /** @return array<string, array{int, float, float, float}> */
    public static function attempts(): array
    {
        return [
            'for the wall time' => [5, 300.0, 300.0, 320.0],
            'for a minute' => [5, 10.0, 60.0, 80.0],
            'never, where that is the policy' => [1, 300.0, 5.0, 5.0],
        ];
    }

    /** A stopped process accepts no connection: a client that came when its backlog was full took it for another program. */
    public function testAFullBacklogIsWaitedFor(): void
    {
        if (!extension_loaded('sockets')) {
            self::markTestSkipped('only the extension sockets makes a backlog so short');
        }
        $path = "$this->directory/full.sock";
        $listener = socket_create(AF_UNIX, SOCK_STREAM, 0);
        self::assertInstanceOf(\Socket::class, $listener);
        socket_bind($listener, $path);
        socket_listen($listener, 0);
        $kept = [];
        while (($socket = @stream_socket_client("unix://$path", $code, $message, 1)) !== false) {
            $kept[] = $socket;
        }

        $failure = $this->failure(new LocalTransport($path, new Timeouts(connectS: 0.3)));

        self::assertInstanceOf(TimedOut::class, $failure);
        self::assertTrue($failure->isLocal);
        array_map(fclose(...), $kept);
        socket_close($listener);
    }

    public function testAReaderThatTakesNothingIsGivenUp(): void
    {
        [$ours, $theirs] = $this->pair();
        $stream = UnixStream::ofSocket($ours);
        try {
            $stream->write(str_repeat('x', 16 << 20), 0.05);
            self::fail('sixteen megabytes went nowhere');
        } catch (TimedOut $exception) {
            self::assertSame(['idle', 0.05], [$exception->limit, $exception->seconds]);
        }
        fclose($theirs);
    }

    public function testAnEndByTheOtherSideIsReportedOnce(): void
    {
        [$ours, $theirs] = $this->pair();
        $stream = UnixStream::ofSocket($ours);
        fwrite($theirs, 'last words');
        self::assertSame('last words', $stream->read(100, 1));
        self::assertNull($stream->read(100, 0));
        fclose($theirs);

        self::assertSame('', $stream->read(100, 1));
        try {
            $stream->write(str_repeat('x', 1 << 20), 0.05);
            self::fail('nobody was there');
        } catch (ConnectionLost) {
            $stream->close();
            $stream->close();
        }
        $this->expectException(ConnectionLost::class);
        $stream->read(1, 0);
    }

    private function failure(LocalTransport $transport): TransportException
    {
        try {
            $transport->open(null, $this->deadline());
        } catch (TransportException $exception) {
            return $exception;
        }
        self::fail('it was opened');
    }

    private function deadline(): Deadline
    {
        return new Deadline(new SystemClock(), 30);
    }

    private function hello(?string $peer = null): string
    {
        $peer ??= (string) ReceiptSigner::withFreshKey()->peer;

        return FakeConversation::message('hello', ['peer' => $peer, 'agent' => 'test']);
    }

    private function serve(string $name, string $says, bool $closes = false): void
    {
        $this->servers[] = new LocalServer("$this->directory/$name", base64_encode($says), $closes);
    }

    /** Leave a socket that nobody listens on any more. */
    private function left(string $name): void
    {
        $server = stream_socket_server("unix://$this->directory/$name");
        self::assertIsResource($server);
        fclose($server);
    }

    /** @return array{resource, resource} */
    private function pair(): array
    {
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertIsArray($pair);

        return $pair;
    }
}
