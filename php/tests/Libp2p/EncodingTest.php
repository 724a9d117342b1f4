<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\AddressScope;
use Plasm\Libp2p\Cid;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\MultiaddrProtocol;
use Plasm\Libp2p\Protobuf;
use Plasm\Libp2p\Uvarint;
use Plasm\PeerId;
use Plasm\Tests\Vectors;

final class EncodingTest extends TestCase
{
    private const PEER = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';

    /** @dataProvider uvarints */
    #[DataProvider('uvarints')]
    public function testAUvarint(string $number, string $encodingHex): void
    {
        $offset = 0;

        self::assertSame($encodingHex, bin2hex(Uvarint::encode((int) $number)));
        self::assertSame((int) $number, Uvarint::decode(sodium_hex2bin($encodingHex) . 'rest', $offset));
        self::assertSame(strlen($encodingHex) >> 1, $offset);
    }

    /** @return list<list<string>> */
    public static function uvarints(): array
    {
        return array_map(array_values(...), Vectors::load('libp2p')['uvarint']['valid']);
    }

    /** @dataProvider wrongUvarints */
    #[DataProvider('wrongUvarints')]
    public function testAWrongUvarintIsRefused(string $hex): void
    {
        $this->expectException(ProtocolViolation::class);
        $offset = 0;

        Uvarint::decode(sodium_hex2bin($hex), $offset);
    }

    /** @return list<list<string>> */
    public static function wrongUvarints(): array
    {
        return array_map(static fn (string $hex): array => [$hex], Vectors::load('libp2p')['uvarint']['invalid_hex']);
    }

    public function testAPeerIdInBothOfItsTextForms(): void
    {
        $vectors = Vectors::load('libp2p')['peer_id'];

        self::assertNotEmpty($vectors['valid']);
        foreach ($vectors['valid'] as $vector) {
            $peer = PeerId::fromPublicKey(sodium_hex2bin($vector['public_key_hex']));
            self::assertSame($vector['base58'], (string) $peer);
            self::assertSame($vector['cid'], Cid::ofPeer($peer));
            self::assertTrue($peer->equals(Cid::parsePeer($vector['cid'])));
            self::assertTrue($peer->equals(Cid::parsePeer($vector['base58'])));
        }
        self::assertSame($vectors['published_base58'], (string) Cid::parsePeer($vectors['published_base58']));
    }

    /** @dataProvider otherPeers */
    #[DataProvider('otherPeers')]
    public function testAPeerIdOfAnotherKindIsRefused(string $text): void
    {
        $this->expectException(InvalidRecord::class);

        Cid::parsePeer($text);
    }

    /** @return list<list<string>> */
    public static function otherPeers(): array
    {
        $cid = Vectors::load('libp2p')['peer_id']['valid'][0]['cid'];
        $others = array_map(static fn (string $text): array => [$text], Vectors::load('libp2p')['peer_id']['other_keys']);
        $cut = substr($cid, 0, -1);

        return [
            ...$others,
            ...[[''], ['b'], [$cut], [ucfirst($cid)], ['z'], ['k'], ['f0'], ['k0O'], ["{$cut}1"], ["$cid\n"]],
        ];
    }

    /** @dataProvider multiaddrs */
    #[DataProvider('multiaddrs')]
    public function testAMultiaddr(string $text, string $encodingHex): void
    {
        self::assertSame($text, (string) Multiaddr::parse($text));
        self::assertSame($encodingHex, bin2hex(Multiaddr::parse($text)->toBytes()));
        self::assertSame($text, (string) Multiaddr::fromBytes(sodium_hex2bin($encodingHex)));
    }

    /** @return list<list<string>> */
    public static function multiaddrs(): array
    {
        return array_map(array_values(...), Vectors::load('libp2p')['multiaddr']['valid']);
    }

    public function testAMultiaddrIsWrittenInOneWay(): void
    {
        $vectors = Vectors::load('libp2p')['multiaddr']['not_canonical'];

        self::assertNotEmpty($vectors);
        foreach ($vectors as $vector) {
            self::assertSame($vector['canonical'], (string) Multiaddr::parse($vector['text']));
        }
    }

    /** @dataProvider wrongMultiaddrs */
    #[DataProvider('wrongMultiaddrs')]
    public function testAWrongMultiaddrIsRefused(string $text, bool $binary): void
    {
        $this->expectException(InvalidMultiaddr::class);

        $binary ? Multiaddr::fromBytes(sodium_hex2bin($text)) : Multiaddr::parse($text);
    }

    /** @return list<array{string, bool}> */
    public static function wrongMultiaddrs(): array
    {
        $vectors = Vectors::load('libp2p')['multiaddr'];
        $long = [[str_repeat('/tcp/1', 17), false], ['/dns/' . str_repeat('a.', 600) . 'a', false], [str_repeat('060001', 200), true]];

        return [
            ...array_map(static fn (string $text): array => [$text, false], $vectors['invalid']),
            ...array_map(static fn (string $hex): array => [$hex, true], $vectors['invalid_hex']),
            ...$long,
        ];
    }

    public function testInvalidBytesNeverBreakTheReader(): void
    {
        mt_srand(7);
        $valid = array_map(static fn (array $pair): string => sodium_hex2bin($pair[1]), self::multiaddrs());
        $read = 0;
        for ($round = 0; $round < 5000; $round++) {
            $bytes = $valid[$round % count($valid)];
            $bytes[mt_rand(0, strlen($bytes) - 1)] = chr(mt_rand(0, 255));
            try {
                $address = Multiaddr::fromBytes($bytes);
                self::assertTrue($address->equals(Multiaddr::parse((string) $address)));
                $read++;
            } catch (InvalidMultiaddr) {
                continue;
            }
        }

        self::assertGreaterThan(500, $read);
    }

    public function testOnlyPlainTcpToThePeerItselfIsAnEndpoint(): void
    {
        $endpoint = Multiaddr::parse('/dns4/node.example/tcp/4001/p2p/' . self::PEER)->tcp();

        self::assertSame([MultiaddrProtocol::Dns4, 'node.example', 4001], array_values((array) $endpoint));
        self::assertTrue($endpoint?->isName());
        foreach (
            [
                '/ip4/192.0.2.1/udp/1/quic-v1/p2p/' . self::PEER,
                '/ip4/192.0.2.1/tcp/1/p2p/' . self::PEER . '/p2p-circuit/p2p/' . self::PEER,
                '/ip4/192.0.2.1/tcp/0/p2p/' . self::PEER,
                '/p2p/' . self::PEER,
                '/tcp/1',
            ] as $text
        ) {
            self::assertNull(Multiaddr::parse($text)->tcp(), $text);
        }
    }

    public function testThePeerIsTheLastOfTheAddress(): void
    {
        $relay = '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB';
        $address = Multiaddr::parse("/ip4/192.0.2.1/tcp/1/p2p/$relay");

        self::assertSame($relay, (string) $address->peer());
        self::assertNull(Multiaddr::parse("$address/p2p-circuit")->peer());
        self::assertSame('/ip4/192.0.2.1/tcp/1/p2p/' . self::PEER, (string) $address->withPeer(PeerId::parse(self::PEER)));
    }

    /** @dataProvider scopes */
    #[DataProvider('scopes')]
    public function testWhichAddressesArePublic(string $ip, bool $public): void
    {
        self::assertSame($public, AddressScope::isPublic($ip));
    }

    /** @return list<array{string, bool}> */
    public static function scopes(): array
    {
        $special = [
            '0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.16.0.1', '192.168.1.1', '198.18.0.1',
            '224.0.0.1', '255.255.255.255', '::', '::1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '64:ff9b::7f00:1', 'fe80::1',
            'fd00::1', 'ff02::1', '2002:7f00:1::1', '2001:db8::1', 'nonsense',
        ];

        return [
            ...array_map(static fn (string $ip): array => [$ip, false], $special),
            ['8.8.8.8', true],
            ['2606:4700::1111', true],
        ];
    }

    public function testProtobufIsReadBackAndUnknownFieldsAreStepped(): void
    {
        $message = Protobuf::number(1, 300) . Protobuf::bytes(2, 'text') . "\x19" . str_repeat('x', 8) . "\x25" . 'four'
            . Protobuf::bytes(15, '');

        self::assertSame([[1, 300], [2, 'text'], [15, '']], Protobuf::read($message));
    }

    /** @dataProvider wrongProtobuf */
    #[DataProvider('wrongProtobuf')]
    public function testWrongProtobufIsRefused(string $message): void
    {
        $this->expectException(ProtocolViolation::class);

        Protobuf::read($message);
    }

    /** @return array<string, array{string}> */
    public static function wrongProtobuf(): array
    {
        return [
            'a length beyond the end' => ["\x0A\x05abc"],
            'a huge length' => ["\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"],
            'an endless number' => ["\x08" . str_repeat("\xFF", 20)],
            'a number that is cut off' => ["\x08\x80"],
            'a field without a value' => ["\x08"],
            'field 0' => ["\x00\x01"],
            'a group' => ["\x0B\x0C"],
            'half of a fixed number' => ["\x09abc"],
            'too many fields' => [str_repeat("\x08\x01", 5000)],
        ];
    }
}
