<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/** The protocols of a multiaddr that are understood, by their codes (multiformats/multicodec, tag multiaddr). */
enum MultiaddrProtocol: int
{
    case Ip4 = 4;
    case Tcp = 6;
    case Ip6 = 41;
    case Dns = 53;
    case Dns4 = 54;
    case Dns6 = 55;
    case Udp = 273;
    case P2pCircuit = 290;
    case P2p = 421;
    case QuicV1 = 461;

    public static function named(string $name): ?self
    {
        foreach (self::cases() as $protocol) {
            if ($protocol->text() === $name) {
                return $protocol;
            }
        }

        return $name === 'ipfs' ? self::P2p : null;
    }

    public function text(): string
    {
        return match ($this) {
            self::Ip4 => 'ip4',
            self::Tcp => 'tcp',
            self::Ip6 => 'ip6',
            self::Dns => 'dns',
            self::Dns4 => 'dns4',
            self::Dns6 => 'dns6',
            self::Udp => 'udp',
            self::P2pCircuit => 'p2p-circuit',
            self::P2p => 'p2p',
            self::QuicV1 => 'quic-v1',
        };
    }

    /** Bytes of the value in the binary form; null if a uvarint length precedes it. */
    public function valueBytes(): ?int
    {
        return match ($this) {
            self::Ip4 => 4,
            self::Ip6 => 16,
            self::Tcp, self::Udp => 2,
            self::P2pCircuit, self::QuicV1 => 0,
            default => null,
        };
    }
}
