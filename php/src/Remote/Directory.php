<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Kademlia\Addresses;
use Plasm\Libp2p\Kademlia\ClientInterface;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Finds nodes in the DHT by node class or by PeerId. Its answers may be false. */
final class Directory
{
    private const SHARDS_AT_ONCE = 4;

    /** Under a peer's own class there should be one, but anyone may list himself. */
    private const MAX_LISTED = 64;

    /** How long to wait for further answers after the first address of a peer. */
    private const SETTLE_S = 0.5;

    public function __construct(
        private readonly ClientInterface $kademlia,
        private readonly Loop $loop,
        private readonly AddressPolicy $policy,
    ) {
    }

    /**
     * Search for providers of a node class, as tasks of a group, which throw the DHT's errors.
     *
     * The last quarter of the places is reserved for nodes that are found late, so that the first server cannot fill
     * the search with invented nodes.
     *
     * @param TaskGroup<mixed> $tasks
     * @param int $limit end after this many nodes
     * @param \Closure(PeerInfo): void $found gets each, with the addresses that may be dialled, and again when more
     *                                         of them become known
     */
    public function search(NodeClass $class, TaskGroup $tasks, Deadline $deadline, int $limit, \Closure $found): void
    {
        $keys = $class->shuffledKeys();
        $finds = new Finds($this->policy, $limit, $found);
        $left = self::SHARDS_AT_ONCE;
        for ($place = 0; $place < self::SHARDS_AT_ONCE; $place++) {
            $tasks->start("shards $place", function () use (&$keys, &$left, $deadline, $limit, $finds): mixed {
                try {
                    while (($key = array_pop($keys)) !== null && !$finds->isFull()) {
                        foreach ($this->kademlia->findProviders($key, $deadline, $limit) as $info) {
                            $finds->take($info, $key);
                        }
                    }
                } finally {
                    if (--$left === 0) {
                        $finds->takeRest();
                    }
                }

                return null;
            });
        }
    }

    /** Return a peer with only those reported addresses that may be dialled; null if there are none. */
    public function usable(PeerInfo $info): ?PeerInfo
    {
        $addresses = $this->policy->usable($info->addresses);

        return $addresses === [] ? null : new PeerInfo($info->peer, $addresses);
    }

    /**
     * Find where a node can be reached.
     *
     * @return PeerInfo|null null if no peer knows it
     *
     * @throws PeerUnreachable if no node of the DHT answered
     * @throws DeadlinePassed
     */
    public function locate(PeerId $peer, Deadline $deadline): ?PeerInfo
    {
        $info = $this->kademlia->findPeer($peer, $deadline);
        $addresses = $this->policy->usable($info->addresses ?? []);
        if ($addresses !== []) {
            return new PeerInfo($peer, $addresses);
        }

        // One that serves no directory, as behind a router, is in no table: it lists itself.
        return $this->listed($peer, $deadline);
    }

    /** Return the /24 or /48 that a node is in; null if none of its addresses is public. */
    public function group(PeerInfo $info): ?string
    {
        return $this->policy->group($info->addresses);
    }

    /**
     * Find the addresses under which a node lists itself: peers that hide it in one shard cannot hide it in its own.
     *
     * @throws DeadlinePassed
     */
    public function listed(PeerId $peer, Deadline $deadline): ?PeerInfo
    {
        $told = new Addresses();
        /** @var TaskGroup<mixed> $tasks */
        $tasks = new TaskGroup($this->loop);
        $keys = NodeClass::ofPeer($peer)->shuffledKeys();
        for ($place = 0; $place < self::SHARDS_AT_ONCE; $place++) {
            $tasks->start("shards $place", function () use (&$keys, $deadline, $peer, $told): mixed {
                while (($key = array_pop($keys)) !== null) {
                    foreach ($this->kademlia->findProviders($key, $deadline, self::MAX_LISTED) as $info) {
                        if ($info->peer->equals($peer)) {
                            $told->add(bin2hex($key), $this->policy->usable($info->addresses));
                        }
                    }
                }

                return null;
            });
        }
        $until = $deadline;
        try {
            while ($tasks->count() > 0) {
                $wasUnknown = $told->all() === [];
                try {
                    [, , $error] = $tasks->next($until->within(self::SETTLE_S), "somebody who knows where $peer is");
                } catch (DeadlinePassed $exception) {
                    if ($deadline->hasPassed() && $wasUnknown) {
                        throw $exception;
                    }
                    if ($until->hasPassed()) {
                        break;
                    }
                    $error = null;
                }
                if ($error !== null && !$error instanceof Libp2pException) {
                    throw $error;
                }
                if ($until === $deadline && $told->all() !== []) {
                    $until = $deadline->within(self::SETTLE_S);
                }
            }
        } finally {
            $tasks->cancel();
        }

        return $told->all() === [] ? null : new PeerInfo($peer, $told->all());
    }
}
