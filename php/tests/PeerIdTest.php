<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidRecord;
use Plasm\PeerId;
use Plasm\Record\Base58;

final class PeerIdTest extends TestCase
{
    /**
     * @dataProvider keys
     *
     * @param array<string, string> $case
     */
    #[DataProvider('keys')]
    public function testTheVectorsHold(array $case): void
    {
        $peer = PeerId::fromPublicKey(sodium_hex2bin($case['public_key_hex']));

        self::assertSame($case['peer_id'], (string) $peer);
        self::assertSame($case['multihash_hex'], bin2hex($peer->multihash()));
        self::assertTrue($peer->equals(PeerId::parse($case['peer_id'])));
        self::assertTrue($peer->equals(PeerId::fromMultihash(sodium_hex2bin($case['multihash_hex']))));
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function keys(): array
    {
        return Vectors::cases('keys');
    }

    /** @dataProvider wrong */
    #[DataProvider('wrong')]
    public function testAnInvalidPeerIdIsRefused(string $text): void
    {
        $this->expectException(InvalidRecord::class);

        PeerId::parse($text);
    }

    /** @return list<array{string}> */
    public static function wrong(): array
    {
        $good = '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB';

        return [
            [''],
            [substr($good, 0, -1)],
            ["$good\n"],
            [substr($good, 0, -1) . '0'],
            ['12D3KooW' . str_repeat('z', 44)],
            ['QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'],
        ];
    }

    public function testAKeyOfAnotherLengthIsRefused(): void
    {
        $this->expectException(InvalidRecord::class);

        PeerId::fromPublicKey(str_repeat("\1", 31));
    }

    public function testBase58KeepsLeadingZeros(): void
    {
        foreach (['', "\0", "\0\0\1", "\1\0\0", random_bytes(40)] as $bytes) {
            self::assertSame($bytes, Base58::decode(Base58::encode($bytes)));
        }
        self::assertSame('112', Base58::encode("\0\0\1"));
    }
}
