<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidRecord;
use Plasm\Handle;
use Plasm\Libp2p\Cid;
use Plasm\Libp2p\Exception\HandshakeFailed;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Noise\HandshakePayload;
use Plasm\Libp2p\Protobuf;
use Plasm\PeerId;
use Plasm\Record\Ed25519;

/** Keys that prove nothing are refused wherever one is read, and signatures are judged by one rule. */
final class KeysTest extends TestCase
{
    /**
     * @dataProvider keys
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('keys')]
    public function testNoReaderTakesAKeyOfLowOrder(array $case): void
    {
        $key = sodium_hex2bin($case['public_key_hex']);
        $multihash = sodium_hex2bin($case['multihash_hex']);
        $body = str_repeat("\0", 64) . $multihash;
        $checked = $body . substr(hash('sha256', $body, true), 0, 4);
        $handle = 'phase0-' . sodium_bin2base64($checked, SODIUM_BASE64_VARIANT_URLSAFE_NO_PADDING);
        $ways = [
            static fn (): PeerId => PeerId::fromPublicKey($key),
            static fn (): PeerId => PeerId::fromMultihash($multihash),
            static fn (): PeerId => PeerId::parse($case['peer_id']),
            static fn (): PeerId => Handle::parse($handle)->peer,
            static fn (): ?PeerId => Multiaddr::parse("/ip4/192.0.2.1/tcp/1/p2p/{$case['peer_id']}")->peer(),
            static fn (): ?PeerId => Multiaddr::fromBytes("\xa5\x03\x26$multihash")->peer(),
        ];
        foreach ($ways as $way) {
            $problem = '';
            try {
                self::assertSame($case['peer_id'], (string) $way());
            } catch (InvalidRecord | InvalidMultiaddr $exception) {
                $problem = $exception->getMessage();
            }
            self::assertSame(!$case['accepted'], str_contains($problem, 'proves nothing'), $problem);
        }
    }

    /**
     * @dataProvider signatures
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('signatures')]
    public function testSignaturesAreJudgedByOneRule(array $case): void
    {
        [$key, $message, $signature] = array_map(
            static fn (string $name): string => sodium_hex2bin($case["{$name}_hex"]),
            ['public_key', 'message', 'signature'],
        );

        self::assertSame($case['valid'], Ed25519::isSignature($signature, $message, $key));
    }

    /** A handshake's signature under a key of small order is no proof of who is there. */
    public function testNoHandshakeIsProvenByAKeyOfSmallOrder(): void
    {
        $forged = "\1" . str_repeat("\0", 63);
        $refused = 0;
        foreach (self::keys() as [$case]) {
            $key = Protobuf::number(1, 1) . Protobuf::bytes(2, sodium_hex2bin($case['public_key_hex']));
            $payload = Protobuf::bytes(1, $key) . Protobuf::bytes(2, $forged);
            try {
                HandshakePayload::verify($payload, str_repeat("\1", 32));
            } catch (HandshakeFailed) {
                $refused++;
            }
        }

        self::assertSame(count(self::keys()), $refused);
    }

    public function testTheCidOfAKeyThatProvesNothingIsRefused(): void
    {
        $good = PeerId::parse(Vectors::load('identities')['keys'][0]['peer_id']);
        self::assertTrue(Cid::parsePeer(Cid::ofPeer($good))->equals($good));
        $this->expectException(InvalidRecord::class);
        $this->expectExceptionMessage('proves nothing');

        Cid::parsePeer('bafzaajaiaejca' . str_repeat('a', 51));
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function keys(): array
    {
        return self::named(Vectors::load('keys')['keys']);
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function signatures(): array
    {
        return self::named(Vectors::load('keys')['signatures']);
    }

    /**
     * @param list<array<string, mixed>> $cases
     *
     * @return array<string, array{array<string, mixed>}>
     */
    private static function named(array $cases): array
    {
        return array_combine(array_column($cases, 'name'), array_map(static fn (array $case): array => [$case], $cases));
    }
}
