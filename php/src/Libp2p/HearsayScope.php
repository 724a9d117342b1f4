<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/**
 * The addresses that may be dialled when a stranger reports them: public ones, and those of some private ranges.
 *
 * DNS names are excluded: a name could resolve to any address, and the lookup reveals the client to its owner.
 */
final readonly class HearsayScope
{
    /** The private ranges. An address in one is dialled if the user gave an address in the same range. */
    public const RANGES = ['private-10', 'private-172', 'private-192', 'shared', 'unique-local', 'loopback'];

    /** The ranges that `allow_private` adds to public addresses. */
    public const LABORATORY = [...self::RANGES, 'documentation', 'benchmarking'];

    /** @param list<string> $ranges classes of `AddressScope` in addition to the public one */
    public function __construct(public array $ranges = [])
    {
    }

    public static function laboratory(): self
    {
        return new self(self::LABORATORY);
    }

    /**
     * Return the scope that the user's own addresses permit.
     *
     * @param list<Multiaddr> $given
     */
    public static function of(array $given): self
    {
        $classes = [];
        foreach ($given as $address) {
            $ip = self::ip($address);
            $classes[] = $ip === null ? null : AddressScope::classOf($ip);
        }

        return new self(array_values(array_intersect(self::RANGES, $classes)));
    }

    public function permits(Multiaddr $address): bool
    {
        $ip = self::ip($address);
        $class = $ip === null ? null : AddressScope::classOf($ip);

        return $class === AddressScope::PUBLIC || in_array($class, $this->ranges, true);
    }

    /** Return a peer with those of its addresses that may be dialled. */
    public function usable(PeerInfo $info): PeerInfo
    {
        return new PeerInfo($info->peer, array_values(array_filter($info->addresses, $this->permits(...))));
    }

    /** Return the prefix that an address, or the relay that it leads through, is counted in; null if it is not public. */
    public static function groupOf(Multiaddr $address): ?string
    {
        $ip = self::ip($address);

        return $ip === null ? null : AddressScope::groupOf($ip);
    }

    /** Return the /24 or /48 of an address, or of the relay that it leads through, be it public or not; null for a name. */
    public static function networkOf(Multiaddr $address): ?string
    {
        $ip = self::ip($address);

        return $ip === null ? null : AddressScope::prefixOf($ip);
    }

    /**
     * Return the prefixes that a peer is counted in, of each public address.
     *
     * @return list<string>
     */
    public static function groups(PeerInfo $info): array
    {
        return array_values(array_unique(array_filter(array_map(self::groupOf(...), $info->addresses))));
    }

    /** Return the IP address of one that can be dialled from here: of the relay's, if it leads through one. */
    private static function ip(Multiaddr $address): ?string
    {
        $endpoint = ($address->relay() ?? $address)->tcp();

        return $endpoint === null || $endpoint->isName() ? null : $endpoint->host;
    }
}
