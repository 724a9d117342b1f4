<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\AddressScope;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\Multiaddr;
use Plasm\PeerId;
use Plasm\Remote\AddressPolicy;

/** Which addresses are dialled because a stranger names them: the vectors that Python's client reads too. */
final class AddressVectorsTest extends TestCase
{
    private const PEER = '12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h';

    public function testTheTableIsTheOneOfTheVectors(): void
    {
        self::assertSame(self::vectors()['table'], AddressScope::TABLE);
    }

    public function testAnAddressIsOfOneClass(): void
    {
        foreach (self::vectors()['classes'] as ['address' => $address, 'class' => $class]) {
            self::assertSame($class, AddressScope::classOf($address), $address);
        }
        self::assertNull(AddressScope::classOf('127.1'));
    }

    public function testOnlyTheRangeOfABootstrapNodeIsDialledOnHearsay(): void
    {
        foreach (self::vectors()['hearsay'] as $case) {
            $policy = AddressPolicy::of(null, array_map(self::multiaddr(...), $case['bootstrap']));
            $name = implode(' ', $case['bootstrap']);

            self::assertSame($case['dialled'], self::dialled($policy, $case['dialled']), $name);
            self::assertSame([], self::dialled($policy, $case['not_dialled']), $name);
        }
    }

    public function testALaboratoryDialsPrivateAddressesAndNoSpecialOnes(): void
    {
        $case = self::vectors()['laboratory'];

        self::assertSame($case['dialled'], self::dialled(new AddressPolicy(true), $case['dialled']));
        self::assertSame([], self::dialled(new AddressPolicy(true), $case['not_dialled']));
    }

    public function testPrivateAddressesCanBeRuledOut(): void
    {
        $policy = AddressPolicy::of(false, [self::multiaddr('/ip4/10.0.0.5/tcp/4001')]);

        self::assertSame([], self::dialled($policy, ['/ip4/10.0.0.9/tcp/4001', '/ip4/127.0.0.1/tcp/4001']));
    }

    public function testAnAddressInANonCanonicalFormIsRefused(): void
    {
        foreach (self::vectors()['no_multiaddrs'] as $text) {
            try {
                Multiaddr::parse($text);
                self::fail("$text was read");
            } catch (InvalidMultiaddr) {
                self::addToAssertionCount(1);
            }
        }
    }

    public function testSpellingsThatAreAllowedMeanTheSame(): void
    {
        foreach (self::vectors()['multiaddrs'] as ['text' => $text, 'where' => $where, 'peer' => $peer]) {
            self::assertSame($where . ($peer === null ? '' : "/p2p/$peer"), (string) Multiaddr::parse($text));
        }
    }

    public function testARelayIsNamedByAKeyThatProvesSomething(): void
    {
        $ofSmallOrder = '12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwm9';
        $target = self::vectors()['multiaddrs'][2]['peer'];
        $this->expectException(InvalidMultiaddr::class);
        $this->expectExceptionMessage('key');

        Multiaddr::parse("/ip4/127.0.0.1/tcp/4001/p2p/$ofSmallOrder/p2p-circuit/p2p/$target");
    }

    public function testAnEmbeddedAddressCountsForItsOwnNetwork(): void
    {
        $plain = self::multiaddr('/ip4/8.8.8.9/tcp/1');

        self::assertSame(HearsayScope::groupOf($plain), HearsayScope::groupOf(self::multiaddr('/ip6/64:ff9b::808:808/tcp/1')));
    }

    /**
     * @param list<string> $texts
     *
     * @return list<string>
     */
    private static function dialled(AddressPolicy $policy, array $texts): array
    {
        return array_values(array_filter(
            $texts,
            static fn (string $text): bool => $policy->usable([self::multiaddr($text)]) !== [],
        ));
    }

    private static function multiaddr(string $text): Multiaddr
    {
        return Multiaddr::parse($text)->withPeer(PeerId::parse(self::PEER));
    }

    /** @return array<string, mixed> */
    private static function vectors(): array
    {
        $json = (string) file_get_contents(__DIR__ . '/../../tests/vectors/addresses.json');

        return json_decode($json, true, 16, JSON_THROW_ON_ERROR);
    }
}
