<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Libp2p\Deadline;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\TimedOut;
use Plasm\Libp2p\Exception\Unreachable;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Kademlia\ClientInterface;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;

/** Finds nodes in the DHT by what they can, or by their names. Whatever it says may be a lie. */
final class Directory
{
    private const SHARDS_AT_ONCE = 4;

    /** Whom one /24 or /48 may make known: fresh keys are free, addresses less so. */
    private const MAX_PER_GROUP = 2;

    /** Under a peer's own class there should be one, but anyone may list himself. */
    private const MAX_LISTED = 8;

    public function __construct(
        private readonly ClientInterface $kademlia,
        private readonly Loop $loop,
        private readonly AddressPolicy $policy,
    ) {
    }

    /**
     * Start looking for providers of a class, as tasks of a group that throw what the DHT threw.
     *
     * @param TaskGroup<mixed> $tasks
     * @param int $limit end after so many
     * @param \Closure(PeerInfo): void $found gets each once, with the addresses that may be dialled
     */
    public function search(CapabilityClass $class, TaskGroup $tasks, Deadline $deadline, int $limit, \Closure $found): void
    {
        $keys = $class->shuffledKeys();
        $told = $groups = [];
        $take = function (PeerInfo $info) use (&$told, &$groups, $limit, $found): void {
            $addresses = $this->policy->usable($info->addresses);
            $name = (string) $info->peer;
            if ($addresses === [] || isset($told[$name]) || count($told) >= $limit) {
                return;
            }
            $group = $this->policy->group($addresses);
            if ($group !== null && ($groups[$group] ?? 0) >= self::MAX_PER_GROUP) {
                return;
            }
            if ($group !== null) {
                $groups[$group] = ($groups[$group] ?? 0) + 1;
            }
            $told[$name] = true;
            $found(new PeerInfo($info->peer, $addresses));
        };
        for ($place = 0; $place < self::SHARDS_AT_ONCE; $place++) {
            $tasks->start("shards $place", function () use (&$keys, &$told, $deadline, $limit, $take): mixed {
                while (($key = array_pop($keys)) !== null && count($told) < $limit) {
                    foreach ($this->kademlia->findProviders($key, $deadline, $limit) as $info) {
                        $take($info);
                    }
                }

                return null;
            });
        }
    }

    /**
     * Find where a node can be reached.
     *
     * @return PeerInfo|null null if nobody knows
     *
     * @throws Unreachable if no node of the DHT answered
     * @throws TimedOut
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

    private function listed(PeerId $peer, Deadline $deadline): ?PeerInfo
    {
        $listed = null;
        /** @var TaskGroup<mixed> $tasks */
        $tasks = new TaskGroup($this->loop);
        $found = static function (PeerInfo $info) use ($peer, &$listed): void {
            $listed = $info->peer->equals($peer) ? $info : $listed;
        };
        $this->search(CapabilityClass::ofPeer($peer), $tasks, $deadline, self::MAX_LISTED, $found);
        try {
            while ($listed === null && $tasks->count() > 0) {
                [, , $error] = $tasks->next($deadline, "somebody who knows where $peer is");
                if ($error !== null && !$error instanceof Libp2pException) {
                    throw $error;
                }
            }
        } finally {
            $tasks->cancel();
        }

        return $listed;
    }
}
