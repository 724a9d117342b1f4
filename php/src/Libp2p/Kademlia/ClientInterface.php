<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/**
 * Finds peers in a distributed hash table. Its answers may be false: only a peer's own handshake proves its identity.
 */
interface ClientInterface
{
    /**
     * Yield peers that are reported to provide a key, as soon as they are reported. A peer is yielded again, with all
     * its addresses, when more are reported.
     *
     * @param string $key the bytes of a multihash
     * @param int $limit end after this many providers
     *
     * @return iterable<PeerInfo>
     *
     * @throws PeerUnreachable if no node of the table answered
     * @throws DeadlinePassed if the deadline passed before a peer was found; otherwise the iteration ends then
     */
    public function findProviders(string $key, Deadline $deadline, int $limit = 20): iterable;

    /**
     * Find where a peer can be reached.
     *
     * @return PeerInfo|null with all reported addresses; null if no peer knows it
     *
     * @throws PeerUnreachable if no node of the table answered
     * @throws DeadlinePassed if the deadline passed before a peer was found
     */
    public function findPeer(PeerId $peer, Deadline $deadline): ?PeerInfo;

    /** Close the connections that are kept for the next lookup. */
    public function close(): void;
}
