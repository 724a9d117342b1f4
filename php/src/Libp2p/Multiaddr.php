<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\PeerId;
use Plasm\Record\Printable;

/**
 * An address with the protocols to reach a peer, such as `/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…`.
 *
 * Source: multiformats/multiaddr.
 */
final readonly class Multiaddr implements \Stringable
{
    private const MAX_TEXT_BYTES = 1024;
    private const MAX_BYTES = 512;
    private const MAX_COMPONENTS = 16;
    private const NAME = '/\A(?=.{1,253}\z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\z/';

    /** @param non-empty-list<array{MultiaddrProtocol, string}> $components each with its value as text */
    private function __construct(public array $components)
    {
    }

    /** @throws InvalidMultiaddr */
    public static function parse(string $text): self
    {
        if (strlen($text) > self::MAX_TEXT_BYTES || !str_starts_with($text, '/')) {
            throw new InvalidMultiaddr('a multiaddr starts with / and has at most 1024 characters');
        }
        $words = explode('/', rtrim(substr($text, 1), '/'));
        $components = [];
        for ($place = 0; $place < count($words); $place++) {
            $protocol = MultiaddrProtocol::named($words[$place])
                ?? throw new InvalidMultiaddr(sprintf('unknown protocol in a multiaddr: %s', self::quote($words[$place])));
            $value = $protocol->valueBytes() === 0 ? '' : $words[++$place] ?? throw new InvalidMultiaddr(
                "a multiaddr ends where {$protocol->text()} needs a value",
            );
            $components[] = [$protocol, self::canonical($protocol, $value)];
        }

        return self::of($components);
    }

    /** @throws InvalidMultiaddr */
    public static function fromBytes(string $bytes): self
    {
        if (strlen($bytes) > self::MAX_BYTES) {
            throw new InvalidMultiaddr('a multiaddr has at most 512 bytes');
        }
        $components = [];
        try {
            for ($offset = 0; $offset < strlen($bytes);) {
                $code = Uvarint::decode($bytes, $offset);
                $protocol = MultiaddrProtocol::tryFrom($code)
                    ?? throw new InvalidMultiaddr("unknown protocol in a multiaddr: code $code");
                $size = $protocol->valueBytes() ?? Uvarint::decode($bytes, $offset);
                if ($size > strlen($bytes) - $offset) {
                    throw new InvalidMultiaddr('a multiaddr is cut off');
                }
                $components[] = [$protocol, self::valueFromBytes($protocol, substr($bytes, $offset, $size))];
                $offset += $size;
            }
        } catch (ProtocolViolation $exception) {
            throw new InvalidMultiaddr($exception->getMessage(), 0, $exception);
        }

        return self::of($components);
    }

    /** Return the peer at the end of the address; null if it names none. */
    public function peer(): ?PeerId
    {
        [$protocol, $value] = $this->components[count($this->components) - 1];

        return $protocol === MultiaddrProtocol::P2p ? PeerId::parse($value) : null;
    }

    /** Return the same address, ending in that peer. */
    public function withPeer(PeerId $peer): self
    {
        $components = $this->components;
        if ($components[count($components) - 1][0] === MultiaddrProtocol::P2p) {
            array_pop($components);
        }

        return self::of([...$components, [MultiaddrProtocol::P2p, (string) $peer]]);
    }

    /** Return host and port of an address that is plain TCP to the peer itself; null for any other. */
    public function tcp(): ?TcpEndpoint
    {
        $protocols = array_column($this->components, 0);
        if (end($protocols) === MultiaddrProtocol::P2p) {
            array_pop($protocols);
        }
        if (count($protocols) !== 2 || $protocols[1] !== MultiaddrProtocol::Tcp || $this->components[1][1] === '0') {
            return null;
        }

        return match ($protocols[0]) {
            MultiaddrProtocol::Ip4, MultiaddrProtocol::Ip6, MultiaddrProtocol::Dns, MultiaddrProtocol::Dns4,
            MultiaddrProtocol::Dns6 =>
                new TcpEndpoint($protocols[0], $this->components[0][1], (int) $this->components[1][1]),
            default => null,
        };
    }

    /**
     * Return the relay's address, with its name, of one that leads to a peer through a relay over TCP.
     *
     * Null for any other.
     */
    public function relay(): ?self
    {
        $protocols = array_column($this->components, 0);
        $circuit = [MultiaddrProtocol::P2p, MultiaddrProtocol::P2pCircuit, MultiaddrProtocol::P2p];
        if (array_slice($protocols, 2) !== $circuit) {
            return null;
        }
        $relay = self::of(array_slice($this->components, 0, 3));

        return $relay->tcp() === null ? null : $relay;
    }

    public function equals(self $other): bool
    {
        return (string) $this === (string) $other;
    }

    public function toBytes(): string
    {
        $bytes = '';
        foreach ($this->components as [$protocol, $value]) {
            $binary = match ($protocol) {
                MultiaddrProtocol::Ip4, MultiaddrProtocol::Ip6 => (string) inet_pton($value),
                MultiaddrProtocol::Tcp, MultiaddrProtocol::Udp => pack('n', (int) $value),
                MultiaddrProtocol::P2p => PeerId::parse($value)->multihash(),
                default => $value,
            };
            $length = $protocol->valueBytes() === null ? Uvarint::encode(strlen($binary)) : '';
            $bytes .= Uvarint::encode($protocol->value) . $length . $binary;
        }

        return $bytes;
    }

    public function __toString(): string
    {
        $text = '';
        foreach ($this->components as [$protocol, $value]) {
            $text .= "/{$protocol->text()}" . ($value === '' ? '' : "/$value");
        }

        return $text;
    }

    /** @param list<array{MultiaddrProtocol, string}> $components */
    private static function of(array $components): self
    {
        if ($components === [] || count($components) > self::MAX_COMPONENTS) {
            throw new InvalidMultiaddr('a multiaddr has between 1 and 16 protocols');
        }

        return new self($components);
    }

    private static function valueFromBytes(MultiaddrProtocol $protocol, string $bytes): string
    {
        try {
            return match ($protocol) {
                MultiaddrProtocol::Ip4, MultiaddrProtocol::Ip6 => (string) inet_ntop($bytes),
                MultiaddrProtocol::Tcp, MultiaddrProtocol::Udp => (string) (ord($bytes[0]) << 8 | ord($bytes[1])),
                MultiaddrProtocol::P2p => (string) PeerId::fromMultihash($bytes),
                default => self::canonical($protocol, $bytes),
            };
        } catch (InvalidRecord $exception) {
            throw new InvalidMultiaddr($exception->getMessage(), 0, $exception);
        }
    }

    private static function canonical(MultiaddrProtocol $protocol, string $value): string
    {
        try {
            $canonical = match ($protocol) {
                MultiaddrProtocol::Ip4 => filter_var($value, FILTER_VALIDATE_IP, FILTER_FLAG_IPV4),
                MultiaddrProtocol::Ip6 => filter_var($value, FILTER_VALIDATE_IP, FILTER_FLAG_IPV6) === false
                    ? false : inet_ntop((string) inet_pton($value)),
                MultiaddrProtocol::Tcp, MultiaddrProtocol::Udp => preg_match('/\A[0-9]{1,5}\z/', $value) === 1
                    && (int) $value <= 0xFFFF ? (string) (int) $value : false,
                MultiaddrProtocol::P2p => (string) Cid::parsePeer($value),
                MultiaddrProtocol::Dns, MultiaddrProtocol::Dns4, MultiaddrProtocol::Dns6 =>
                    preg_match(self::NAME, $value) === 1 ? $value : false,
                MultiaddrProtocol::P2pCircuit, MultiaddrProtocol::QuicV1 => '',
            };
        } catch (InvalidRecord $exception) {
            throw new InvalidMultiaddr($exception->getMessage(), 0, $exception);
        }
        if ($canonical === false) {
            throw new InvalidMultiaddr(sprintf('not a value for %s: %s', $protocol->text(), self::quote($value)));
        }

        return $canonical;
    }

    private static function quote(string $text): string
    {
        $flags = JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES;

        return Printable::visible((string) json_encode(substr($text, 0, 80), $flags));
    }
}
