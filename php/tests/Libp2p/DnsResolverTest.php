<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Io\DnsResolver;
use Plasm\Libp2p\Io\Loop;
use Plasm\Time\Deadline;

final class DnsResolverTest extends TestCase
{
    private Loop $loop;

    /** @var list<resource> */
    private array $servers = [];

    /** @var list<string> */
    private array $files = [];

    protected function setUp(): void
    {
        $this->loop = new Loop();
    }

    protected function tearDown(): void
    {
        foreach ($this->servers as $server) {
            $this->loop->onReadable($server, null);
            fclose($server);
        }
        array_map(unlink(...), $this->files);
        $this->servers = $this->files = [];
    }

    public function testBothFamiliesIPv4First(): void
    {
        $resolver = $this->resolver($this->server(self::answer(...)));

        self::assertSame(['192.0.2.1', '2001:db8::1'], $resolver->resolve('node.example', true, true, Deadline::after(10)));
        self::assertSame(['2001:db8::1'], $resolver->resolve('node.example.', false, true, Deadline::after(10)));
    }

    public function testANameThatTheHostsFileHas(): void
    {
        $hosts = $this->file("# comment\n127.0.0.1 localhost\n192.0.2.9\tother Node.Example # mine\n::9 node.example\n");
        $resolver = new DnsResolver($this->loop, [], $hosts);

        self::assertSame(['192.0.2.9', '::9'], $resolver->resolve('node.example', true, true, Deadline::after(10)));
        self::assertSame(['192.0.2.9'], $resolver->resolve('node.example', true, false, Deadline::after(10)));
    }

    public function testTheServersOfTheConfigurationAreAsked(): void
    {
        $configuration = $this->file("# none\nsearch example\nnameserver 127.0.0.1\nnameserver ::1\n");
        $resolver = new DnsResolver($this->loop, null, '/nonexistent', $configuration);
        $servers = \Closure::bind(fn (): array => $this->servers, $resolver, DnsResolver::class)();

        self::assertSame(['127.0.0.1:53', '[::1]:53'], $servers);
    }

    public function testANameWithoutAnAddress(): void
    {
        $resolver = $this->resolver($this->server(static fn (string $query): string => self::header($query, 0x8183, 0)));
        $this->expectException(ConnectFailed::class);

        $resolver->resolve('node.example', true, true, Deadline::after(10));
    }

    public function testAnAnswerToAnotherQuestionIsNotTaken(): void
    {
        $server = $this->server(static function (string $query): array {
            $forged = self::answer($query, '198.51.100.66');
            $otherId = (chr(ord($forged[0]) ^ 1)) . substr($forged, 1);
            $otherName = str_replace('node', 'evil', $forged);

            return [$otherId, $otherName, $query, self::answer($query)];
        });

        self::assertSame(['192.0.2.1'], $this->resolver($server)->resolve('node.example', true, false, Deadline::after(10)));
    }

    public function testASilentServerIsGivenUpAtTheDeadline(): void
    {
        $resolver = $this->resolver($this->server(static fn (): array => []));
        $start = hrtime(true);
        try {
            $resolver->resolve('node.example', true, true, Deadline::after(0.2));
            self::fail('a silent server answered');
        } catch (DeadlinePassed) {
            self::assertLessThan(5e9, hrtime(true) - $start);
        }
    }

    public function testAnotherServerIsAskedWhereOneRefuses(): void
    {
        $closed = $this->server(static fn (): array => []);
        $server = array_pop($this->servers) ?? self::fail('no server');
        $this->loop->onReadable($server, null);
        fclose($server);
        $resolver = new DnsResolver($this->loop, [$closed, $this->server(self::answer(...))], '/nonexistent');

        self::assertSame(['192.0.2.1'], $resolver->resolve('node.example', true, false, Deadline::after(10)));
    }

    public function testGarbageIsNeverMoreThanAnError(): void
    {
        mt_srand(9);
        $server = $this->server(static function (string $query): string {
            $answer = self::answer($query);
            for ($place = strlen($query); $place < strlen($answer); $place++) {
                if (mt_rand(0, 4) === 0) {
                    $answer[$place] = chr(mt_rand(0, 255));
                }
            }

            return substr($answer, 0, mt_rand(strlen($query), strlen($answer)));
        });
        $resolver = $this->resolver($server);
        $refused = 0;
        for ($round = 0; $round < 200; $round++) {
            try {
                foreach ($resolver->resolve('node.example', true, false, Deadline::after(10)) as $ip) {
                    self::assertNotFalse(filter_var($ip, FILTER_VALIDATE_IP));
                }
            } catch (Libp2pException) {
                $refused++;
            }
        }

        self::assertGreaterThan(20, $refused);
    }

    /** @dataProvider wrongNames */
    #[DataProvider('wrongNames')]
    public function testANameThatCannotBeAskedForIsRefused(string $name): void
    {
        $this->expectException(ConnectFailed::class);

        $this->resolver($this->server(self::answer(...)))->resolve($name, true, true, Deadline::after(10));
    }

    /** @return list<array{string}> */
    public static function wrongNames(): array
    {
        return [[''], ['a..b'], [str_repeat('a', 64) . '.example']];
    }

    private function resolver(string $server): DnsResolver
    {
        return new DnsResolver($this->loop, [$server], '/nonexistent');
    }

    /** @param \Closure(string): (string|list<string>) $respond */
    private function server(\Closure $respond): string
    {
        $server = stream_socket_server('udp://127.0.0.1:0', $code, $message, STREAM_SERVER_BIND);
        self::assertNotFalse($server);
        $this->servers[] = $server;
        $this->loop->onReadable($server, static function () use ($server, $respond): void {
            $query = (string) stream_socket_recvfrom($server, 4096, 0, $client);
            foreach ((array) $respond($query) as $answer) {
                stream_socket_sendto($server, $answer, 0, $client);
            }
        });

        return (string) stream_socket_get_name($server, false);
    }

    private static function header(string $query, int $flags, int $answers): string
    {
        return substr($query, 0, 2) . pack('n5', $flags, 1, $answers, 0, 0) . substr($query, 12);
    }

    /** Answer with a CNAME and then, with its name compressed, an address. */
    private static function answer(string $query, string $ip4 = '192.0.2.1'): string
    {
        $type = substr($query, -4, 2);
        $data = $type === "\0\1" ? (string) inet_pton($ip4) : (string) inet_pton('2001:db8::1');
        $alias = "\xC0\x0C" . "\0\5\0\1" . pack('Nn', 60, 8) . "\5alias\xC0\x11";

        return self::header($query, 0x8180, 2) . $alias . "\5alias\xC0\x11" . $type . "\0\1" . pack('Nn', 60, strlen($data)) . $data;
    }

    private function file(string $text): string
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'dns');
        file_put_contents($file, $text);

        return $this->files[] = $file;
    }
}
