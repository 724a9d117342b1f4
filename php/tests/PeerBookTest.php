<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Cache\CacheInterface;
use Plasm\Cache\FileCache;
use Plasm\Cache\MemoryCache;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\Remote\PeerBook;

/** What a client remembers of nodes, and where it keeps it. */
final class PeerBookTest extends TestCase
{
    private string $directory;

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir() . '/plasm-cache-' . bin2hex(random_bytes(6));
    }

    protected function tearDown(): void
    {
        exec('rm -rf ' . escapeshellarg($this->directory));
    }

    public function testReputationIsSharedBetweenProcesses(): void
    {
        $cache = new FileCache($this->directory);
        [$first, $second] = [self::peer(1), self::peer(2)];
        $book = new PeerBook($cache, 'net');
        $book->remember($first);
        $book->remember($second);

        $next = new PeerBook($cache, 'net');
        self::assertEquals([$second, $first], $next->all());
        self::assertEquals($first->addresses, $next->addresses($first->peer));
        self::assertSame([], (new PeerBook($cache, 'another net'))->all());

        $next->forget($second->peer);
        self::assertEquals([$first], (new PeerBook($cache, 'net'))->all());
    }

    public function testASearchIsDueFiveMinutesAfterTheLastOfAnyProcess(): void
    {
        $cache = new class () implements CacheInterface {
            /** @var array<string, mixed> */
            public array $values = [];

            /** @var list<int|\DateInterval|null> */
            public array $lifetimes = [];

            public function get(string $key, mixed $default = null): mixed
            {
                return $this->values[$key] ?? $default;
            }

            public function set(string $key, mixed $value, int|\DateInterval|null $ttl = null): bool
            {
                $this->values[$key] = $value;
                $this->lifetimes[] = $ttl;

                return true;
            }

            public function delete(string $key): bool
            {
                unset($this->values[$key]);

                return true;
            }
        };
        self::assertTrue((new PeerBook($cache, 'net'))->isSearchDue());
        (new PeerBook($cache, 'net'))->searching();

        self::assertFalse((new PeerBook($cache, 'net'))->isSearchDue());
        self::assertTrue((new PeerBook($cache, 'another net'))->isSearchDue());
        self::assertSame([300], $cache->lifetimes);
        $cache->values = [];
        self::assertTrue((new PeerBook($cache, 'net'))->isSearchDue());
    }

    public function testOnlyItsUserCanReadTheFile(): void
    {
        (new PeerBook(new FileCache($this->directory), 'net'))->remember(self::peer(1));

        $files = glob("$this->directory/*") ?: [];
        self::assertCount(1, $files);
        self::assertSame(0100600, fileperms($files[0]));
        self::assertSame(040700, fileperms($this->directory));
    }

    public function testNothingIsKeptWhereOthersCanWrite(): void
    {
        mkdir($this->directory);
        chmod($this->directory, 0777);

        self::assertFalse((new FileCache($this->directory))->set('key', 1));
        self::assertSame([], glob("$this->directory/*"));
    }

    public function testALinkIsNotFollowed(): void
    {
        mkdir($this->directory, 0700);
        mkdir("$this->directory/real", 0700);
        symlink("$this->directory/real", "$this->directory/link");

        self::assertFalse((new FileCache("$this->directory/link"))->set('key', 1));
    }

    /** @dataProvider caches */
    #[DataProvider('caches')]
    public function testACacheKeepsValuesForTheirTime(string $class): void
    {
        $cache = $class === FileCache::class ? new FileCache($this->directory) : new MemoryCache();
        self::assertInstanceOf(CacheInterface::class, $cache);

        self::assertSame('none', $cache->get('a', 'none'));
        self::assertTrue($cache->set('a', ['b' => [1, 'two']]));
        self::assertTrue($cache->set('past', 1, -1));
        self::assertTrue($cache->set('soon', 1, new \DateInterval('PT1H')));
        self::assertSame(['b' => [1, 'two']], $cache->get('a'));
        self::assertNull($cache->get('past'));
        self::assertSame(1, $cache->get('soon'));
        self::assertTrue($cache->delete('a'));
        self::assertTrue($cache->delete('a'));
        self::assertNull($cache->get('a'));
    }

    /** @return array<string, array{class-string}> */
    public static function caches(): array
    {
        return ['file' => [FileCache::class], 'memory' => [MemoryCache::class]];
    }

    public function testAKeyNamesNoOtherFile(): void
    {
        $this->expectException(\InvalidArgumentException::class);

        (new FileCache($this->directory))->get('../key');
    }

    /** @dataProvider nonsense */
    #[DataProvider('nonsense')]
    public function testNonsenseInTheCacheIsNothing(mixed $value): void
    {
        $cache = new class ($value) extends \stdClass implements CacheInterface {
            public function __construct(private readonly mixed $value)
            {
            }

            public function get(string $key, mixed $default = null): mixed
            {
                return $this->value;
            }

            public function set(string $key, mixed $value, int|\DateInterval|null $ttl = null): bool
            {
                return true;
            }

            public function delete(string $key): bool
            {
                return true;
            }
        };

        self::assertSame([], (new PeerBook($cache, 'net'))->all());
    }

    /** @return array<string, array{mixed}> */
    public static function nonsense(): array
    {
        $peer = (string) Identity::fromSeed(str_repeat('x', 32))->peer;
        $good = ['peer' => $peer, 'addresses' => ['/ip4/192.0.2.1/tcp/1'], 'seen' => time()];

        return [
            'a string' => ['nonsense'],
            'a list of strings' => [['nonsense']],
            'no peer' => [[['peer' => 'x'] + $good]],
            'no address' => [[['addresses' => ['x']] + $good]],
            'no list of addresses' => [[['addresses' => 'x'] + $good]],
            'an object for an address' => [[['addresses' => [[]]] + $good]],
            'seen tomorrow' => [[['seen' => time() + 86_400] + $good]],
            'seen more than a week ago' => [[['seen' => time() - 8 * 86_400] + $good]],
            'seen never' => [[['seen' => null] + $good]],
        ];
    }

    public function testNonsenseInTheFileIsNothing(): void
    {
        $cache = new FileCache($this->directory);
        $cache->set('key', 1);
        foreach (['', '{', '[]', '{"ends_at": 1}', '{"value": 1, "ends_at": "x"}', str_repeat('1', (1 << 20) + 1)] as $text) {
            file_put_contents("$this->directory/key.json", $text);
            self::assertSame('none', $cache->get('key', 'none'), substr($text, 0, 30));
        }
    }

    public function testNoMoreIsRememberedThanIsUseful(): void
    {
        $cache = new MemoryCache();
        $book = new PeerBook($cache, 'net');
        for ($number = 1; $number <= 100; $number++) {
            $book->remember(self::peer($number, 20));
        }

        self::assertCount(64, (new PeerBook($cache, 'net'))->all());
        self::assertCount(8, $book->all()[0]->addresses);
    }

    private static function peer(int $number, int $addresses = 1): PeerInfo
    {
        $peer = Identity::fromSeed(hash('sha256', (string) $number, true))->peer;
        $list = [];
        for ($port = 1; $port <= $addresses; $port++) {
            $list[] = Multiaddr::parse("/ip4/192.0.2.$number/tcp/$port/p2p/$peer");
        }

        return new PeerInfo($peer, $list);
    }
}
