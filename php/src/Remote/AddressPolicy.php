<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Libp2p\AddressScope;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\MultiaddrProtocol;

/** Which addresses may be dialled that somebody else told, and which count together. */
final readonly class AddressPolicy
{
    /** Bytes of an address by whose first ones a group is known: a /24 and a /48. */
    private const GROUP_BYTES = [4 => 3, 16 => 6];

    public function __construct(public bool $allowsPrivate)
    {
    }

    /**
     * Return a policy that allows private addresses if that is asked for, or if one is where to begin.
     *
     * @param list<Multiaddr> $bootstrap
     */
    public static function of(?bool $allowsPrivate, array $bootstrap): self
    {
        foreach ($allowsPrivate === null ? $bootstrap : [] as $address) {
            $ip = self::ip($address);
            $allowsPrivate = $allowsPrivate || ($ip !== null && !AddressScope::isPublic($ip));
        }

        return new self($allowsPrivate ?? false);
    }

    /**
     * Return those that may be dialled. Names are not among them: one could stand for any address.
     *
     * @param list<Multiaddr> $addresses
     *
     * @return list<Multiaddr>
     */
    public function usable(array $addresses): array
    {
        return array_values(array_filter($addresses, function (Multiaddr $address): bool {
            $ip = self::ip($address);

            return $ip !== null && ($this->allowsPrivate || AddressScope::isPublic($ip));
        }));
    }

    /**
     * Return the prefix that a peer is counted in; null if none of its addresses is public.
     *
     * @param list<Multiaddr> $addresses
     */
    public function group(array $addresses): ?string
    {
        foreach ($addresses as $address) {
            $ip = self::ip($address);
            if ($ip !== null && AddressScope::isPublic($ip)) {
                $bytes = (string) inet_pton($ip);

                return bin2hex(substr($bytes, 0, self::GROUP_BYTES[strlen($bytes)]));
            }
        }

        return null;
    }

    /** Return the IP address of one that can be dialled from here: of the relay's, if it leads through one. */
    private static function ip(Multiaddr $address): ?string
    {
        $endpoint = ($address->relay() ?? $address)->tcp();

        return $endpoint === null || $endpoint->isName() ? null : $endpoint->host;
    }
}
