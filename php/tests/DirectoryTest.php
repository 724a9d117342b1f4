<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Kademlia\ClientInterface;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Remote\AddressPolicy;
use Plasm\Remote\Directory;
use Plasm\Remote\NodeClass;
use Plasm\Time\Deadline;

/** Whom the DHT may make known, and at which addresses. */
final class DirectoryTest extends TestCase
{
    public function testOneNetworkMakesOnlyTwoNodesKnown(): void
    {
        $listed = [];
        foreach (['8.8.8.1', '8.8.8.2', '8.8.8.3', '8.8.9.1'] as $ip) {
            $listed[] = self::peer("/ip4/$ip/tcp/1");
        }
        foreach (['2001:4860:1:1::1', '2001:4860:1:2::1', '2001:4860:1:3::1', '2001:4860:2::1'] as $ip) {
            $listed[] = self::peer("/ip6/$ip/tcp/1");
        }

        self::assertEquals(
            [$listed[0], $listed[1], $listed[3], $listed[4], $listed[5], $listed[7]],
            $this->search($listed, new AddressPolicy(false)),
        );
    }

    public function testEachProviderIsReportedOnceAndNoMoreThanWanted(): void
    {
        $listed = array_map(static fn (int $number): PeerInfo => self::peer("/ip4/10.0.0.$number/tcp/1"), range(1, 9));

        self::assertEquals(array_slice($listed, 0, 5), $this->search([...$listed, ...$listed], new AddressPolicy(true), 5));
    }

    /** The first that names it may lie: a node is told again, with the union of its addresses. */
    public function testANodeIsReportedAgainWithAddressesFromOthers(): void
    {
        $peer = Identity::ephemeral()->peer;
        $at = static fn (string $ip): PeerInfo => new PeerInfo($peer, [Multiaddr::parse("/ip4/$ip/tcp/1/p2p/$peer")]);
        $false = array_map(static fn (int $number): PeerInfo => $at("198.41.0.$number"), range(1, 9));

        $found = $this->search([...$false, $at('8.8.8.8')], new AddressPolicy(false));
        $told = array_merge(...array_map(static fn (PeerInfo $info): array => $info->addresses, $found));

        self::assertContains("/ip4/8.8.8.8/tcp/1/p2p/$peer", array_map(strval(...), $told));
        self::assertLessThanOrEqual(10, count($found));
    }

    public function testNodesThatAreMadeUpUnderEachKeyDoNotFillASearch(): void
    {
        $honest = self::peer('/ip4/9.9.9.9/tcp/1');
        $invent = static fn (int $number): PeerInfo => self::peer("/ip4/11.$number.0.1/tcp/1");
        $answers = static fn (): array => [...array_map($invent, range(1, 40)), $honest];

        self::assertContainsEquals($honest, $this->search($answers, new AddressPolicy(false)));
    }

    /** @dataProvider addresses */
    #[DataProvider('addresses')]
    public function testWhatIsDialledOnHearsay(string $address, bool $isUsable, bool $isUsableInPrivate): void
    {
        $peer = self::peer($address);

        self::assertCount((int) $isUsable, $this->search([$peer], new AddressPolicy(false)));
        self::assertCount((int) $isUsableInPrivate, $this->search([$peer], new AddressPolicy(true)));
    }

    /** @return list<array{string, bool, bool}> */
    public static function addresses(): array
    {
        return [
            ['/ip4/8.8.8.8/tcp/1', true, true],
            ['/ip6/2001:4860::1/tcp/1', true, true],
            ['/ip4/127.0.0.1/tcp/1', false, true],
            ['/ip4/10.1.2.3/tcp/1', false, true],
            ['/ip4/169.254.169.254/tcp/80', false, false],
            ['/ip6/::1/tcp/1', false, true],
            ['/ip6/fd00::1/tcp/1', false, true],
            ['/ip6/::ffff:127.0.0.1/tcp/1', false, false],
            ['/dns4/metadata.internal/tcp/80', false, false],
            ['/ip4/8.8.8.8/udp/1/quic-v1', false, false],
            ['/ip4/8.8.8.8/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit', true, true],
            ['/ip4/10.1.2.3/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit', false, true],
            ['/dns4/a.internal/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit', false, false],
            ['/ip4/8.8.8.8/tcp/0', false, false],
        ];
    }

    /** @dataProvider beginnings */
    #[DataProvider('beginnings')]
    public function testPrivateAddressesAreAllowedIfABootstrapAddressIsPrivate(string $address, ?bool $asked, bool $allowed): void
    {
        self::assertSame($allowed, AddressPolicy::of($asked, [Multiaddr::parse($address)])->allowsPrivate);
    }

    /** @return list<array{string, bool|null, bool}> */
    public static function beginnings(): array
    {
        return [
            ['/ip4/127.0.0.1/tcp/1', null, true],
            ['/ip4/192.168.1.1/tcp/1', null, true],
            ['/ip4/8.8.8.8/tcp/1', null, false],
            ['/dns4/node.example/tcp/1', null, false],
            ['/ip4/127.0.0.1/tcp/1', false, false],
            ['/ip4/8.8.8.8/tcp/1', true, true],
        ];
    }

    public function testANodeThatIsInNoTableListsItself(): void
    {
        $sought = self::peer('/ip4/8.8.8.8/tcp/1');
        $liar = self::peer('/ip4/8.8.4.4/tcp/1');
        $keys = (new NodeClass("peer/$sought->peer"))->shuffledKeys();

        $directory = $this->directory([$liar, $sought], new AddressPolicy(false), array_slice($keys, 0, 4));
        self::assertEquals($sought, $directory->locate($sought->peer, Deadline::after(5)));
        self::assertNull($directory->locate($liar->peer, Deadline::after(5)));
    }

    /**
     * @param list<PeerInfo>|\Closure(): list<PeerInfo> $listed
     *
     * @return list<PeerInfo>
     */
    private function search(array|\Closure $listed, AddressPolicy $policy, int $limit = 64): array
    {
        $loop = new Loop();
        $tasks = new TaskGroup($loop);
        $found = [];
        $this->directory($listed, $policy, null, $loop)->search(
            new NodeClass(NodeClass::ANY_NODE),
            $tasks,
            Deadline::after(5),
            $limit,
            static function (PeerInfo $info) use (&$found): void {
                $found[] = $info;
            },
        );
        while ($tasks->count() > 0) {
            [, , $error] = $tasks->next(Deadline::after(5), 'the search');
            self::assertNull($error);
        }

        return $found;
    }

    /**
     * @param list<PeerInfo>|\Closure(): list<PeerInfo> $listed under each key
     * @param list<string>|null $keys only under these
     */
    private function directory(array|\Closure $listed, AddressPolicy $policy, ?array $keys, Loop $loop = new Loop()): Directory
    {
        $table = new class ($listed, $keys) implements ClientInterface {
            /**
             * @param list<PeerInfo>|\Closure(): list<PeerInfo> $listed
             * @param list<string>|null $keys
             */
            public function __construct(private readonly array|\Closure $listed, private readonly ?array $keys)
            {
            }

            public function findProviders(string $key, Deadline $deadline, int $limit = 20): iterable
            {
                return $this->keys === null || in_array($key, $this->keys, true)
                    ? ($this->listed instanceof \Closure ? ($this->listed)() : $this->listed)
                    : [];
            }

            public function findPeer(PeerId $peer, Deadline $deadline): ?PeerInfo
            {
                return null;
            }

            public function close(): void
            {
            }
        };

        return new Directory($table, $loop, $policy);
    }

    private static function peer(string $address): PeerInfo
    {
        $peer = Identity::ephemeral()->peer;

        return new PeerInfo($peer, [Multiaddr::parse($address)->withPeer($peer)]);
    }
}
