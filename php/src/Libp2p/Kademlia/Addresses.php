<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\Multiaddr;

/** The addresses of one peer as several peers report them. A peer that reports many cannot displace another's. */
final class Addresses
{
    private const MAX_TELLERS = 16;
    private const MAX_ADDRESSES = 16;

    /** @var array<string, array<string, Multiaddr>> by teller and text */
    private array $claims = [];

    /**
     * Add the addresses that a peer reports.
     *
     * @param list<Multiaddr> $addresses
     */
    public function add(string $teller, array $addresses): void
    {
        if ($addresses === [] || (!isset($this->claims[$teller]) && count($this->claims) >= self::MAX_TELLERS)) {
            return;
        }
        foreach ($addresses as $address) {
            if (count($this->claims[$teller] ?? []) < self::MAX_ADDRESSES) {
                $this->claims[$teller][(string) $address] = $address;
            }
        }
    }

    /** @return list<string> */
    public function tellers(): array
    {
        return array_map(strval(...), array_keys($this->claims));
    }

    /**
     * Return the addresses: the first half are those with the most reports, the second half one of each reporting
     * peer in turn.
     *
     * @return list<Multiaddr>
     */
    public function all(): array
    {
        $inTurn = $support = [];
        for ($place = 0; $place < self::MAX_ADDRESSES; $place++) {
            foreach ($this->claims as $claim) {
                foreach (array_slice($claim, $place, 1) as $text => $address) {
                    $inTurn[$text] = $address;
                    $support[$text] = ($support[$text] ?? 0) + 1;
                }
            }
        }
        arsort($support); // stable, as of PHP 8.0
        $agreed = array_slice($support, 0, intdiv(self::MAX_ADDRESSES, 2));

        return array_values(array_slice(array_intersect_key(array_replace($agreed, $inTurn), $inTurn), 0, self::MAX_ADDRESSES));
    }
}
