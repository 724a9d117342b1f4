<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Cache\CacheInterface;
use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;

/**
 * The addresses at which nodes were last reached, stored for seven days.
 *
 * It contains only addresses that nodes advertise. Cached values are checked like a stranger's reports.
 */
final class PeerBook
{
    private const LIFETIME_S = 7 * 86_400;

    /** How often to search for new nodes even if many good ones are known: otherwise no new node would get jobs. */
    private const NEWCOMERS_S = 300;
    private const MAX_PEERS = 64;
    private const MAX_ADDRESSES = 8;

    /** @var array<string, array{PeerInfo, int}>|null by PeerId, the latest first, with the time they were seen at */
    private ?array $peers = null;

    private readonly string $key;
    private readonly string $searchKey;

    /** @param string $network a name that separates the nodes of different networks */
    public function __construct(private readonly CacheInterface $cache, string $network)
    {
        $this->key = 'plasm_peers_' . substr(hash('sha256', $network), 0, 32);
        $this->searchKey = 'plasm_searched_' . substr(hash('sha256', $network), 0, 32);
    }

    /** Tell whether no process with this cache has looked for nodes for five minutes. */
    public function isSearchDue(): bool
    {
        return $this->cache->get($this->searchKey) === null;
    }

    /** Note that nodes are looked for. */
    public function searching(): void
    {
        try {
            $this->cache->set($this->searchKey, true, self::NEWCOMERS_S);
        } catch (\Exception) {
            // As in save().
        }
    }

    /** @return list<PeerInfo> the latest first */
    public function all(): array
    {
        return array_column($this->peers(), 0);
    }

    /** @return list<Multiaddr> */
    public function addresses(PeerId $peer): array
    {
        return $this->peers()[(string) $peer][0]->addresses ?? [];
    }

    /** @param Multiaddr|null $proved the address at which it answered: it comes before reported ones */
    public function remember(PeerInfo $info, ?Multiaddr $proved = null): void
    {
        $name = (string) $info->peer;
        $known = $this->peers();
        unset($known[$name]);
        $addresses = $proved === null ? $info->addresses : [$proved, ...array_filter(
            $info->addresses,
            static fn (Multiaddr $address): bool => !$address->equals($proved),
        )];
        $info = new PeerInfo($info->peer, array_slice($addresses, 0, self::MAX_ADDRESSES));
        $this->save([$name => [$info, time()]] + $known);
    }

    public function forget(PeerId $peer): void
    {
        $known = $this->peers();
        if (isset($known[(string) $peer])) {
            unset($known[(string) $peer]);
            $this->save($known);
        }
    }

    /** @return array<string, array{PeerInfo, int}> */
    private function peers(): array
    {
        if ($this->peers === null) {
            $this->peers = [];
            $kept = $this->cache->get($this->key);
            foreach (array_slice(is_array($kept) ? $kept : [], 0, self::MAX_PEERS) as $item) {
                $read = is_array($item) ? self::read($item) : null;
                if ($read !== null) {
                    $this->peers[(string) $read[0]->peer] = $read;
                }
            }
        }

        return $this->peers;
    }

    /** @param array<string, array{PeerInfo, int}> $peers */
    private function save(array $peers): void
    {
        $this->peers = array_slice($peers, 0, self::MAX_PEERS);
        $kept = [];
        foreach ($this->peers as $name => [$info, $seen]) {
            $kept[] = ['peer' => $name, 'addresses' => array_map(strval(...), $info->addresses), 'seen' => $seen];
        }
        try {
            $this->cache->set($this->key, $kept, self::LIFETIME_S);
        } catch (\Exception) {
            // A cache that fails must not fail the job for which an address is remembered.
        }
    }

    /**
     * @param array<mixed> $item
     *
     * @return array{PeerInfo, int}|null null if it is too old, or nonsense
     */
    private static function read(array $item): ?array
    {
        $seen = $item['seen'] ?? null;
        $texts = $item['addresses'] ?? null;
        $now = time();
        if (!is_int($seen) || $seen > $now || $seen <= $now - self::LIFETIME_S || !is_array($texts)) {
            return null;
        }
        try {
            $peer = PeerId::parse(is_string($item['peer'] ?? null) ? $item['peer'] : '');
            $addresses = array_map(
                static fn (mixed $text): Multiaddr => Multiaddr::parse(is_string($text) ? $text : '')->withPeer($peer),
                array_slice(array_values($texts), 0, self::MAX_ADDRESSES),
            );
        } catch (InvalidRecord | InvalidMultiaddr) {
            return null;
        }

        return [new PeerInfo($peer, $addresses), $seen];
    }
}
