<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Libp2p\HearsayScope;
use Plasm\Libp2p\Multiaddr;

/** Which reported addresses may be dialled, and which count as one network: docs/network.md. */
final readonly class AddressPolicy
{
    public HearsayScope $scope;

    /** @param HearsayScope|null $scope null for a laboratory's, or for public addresses only */
    public function __construct(public bool $allowsPrivate, ?HearsayScope $scope = null)
    {
        $this->scope = $scope ?? ($allowsPrivate ? HearsayScope::laboratory() : new HearsayScope());
    }

    /**
     * Return a policy that allows private addresses if that is asked for, or those in the range of a bootstrap node.
     *
     * @param bool|null $allowsPrivate null to go by the bootstrap nodes
     * @param list<Multiaddr> $bootstrap
     */
    public static function of(?bool $allowsPrivate, array $bootstrap): self
    {
        if ($allowsPrivate !== null) {
            return new self($allowsPrivate);
        }
        $scope = HearsayScope::of($bootstrap);

        return new self($scope->ranges !== [], $scope);
    }

    /**
     * Return the addresses that may be dialled. DNS names are excluded: a name could resolve to any address.
     *
     * @param list<Multiaddr> $addresses
     *
     * @return list<Multiaddr>
     */
    public function usable(array $addresses): array
    {
        return array_values(array_filter($addresses, $this->scope->permits(...)));
    }

    /**
     * Return the network prefix that a peer is counted in; null if none of its addresses is public.
     *
     * @param list<Multiaddr> $addresses
     */
    public function group(array $addresses): ?string
    {
        foreach ($addresses as $address) {
            $group = HearsayScope::groupOf($address);
            if ($group !== null) {
                return $group;
            }
        }

        return null;
    }
}
