<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\PeerInfo;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Looks things up in a distributed hash table. Whatever it says may be a lie: believe a peer when it answers. */
interface ClientInterface
{
    /**
     * Find peers that say they provide a key, as soon as somebody names them. One comes again, with all its
     * addresses, when others name more of them.
     *
     * @param string $key the bytes of a multihash
     * @param int $limit end after this many providers
     *
     * @return iterable<PeerInfo>
     *
     * @throws PeerUnreachable if no node of the table answered
     * @throws DeadlinePassed if the deadline passed before anybody was found; else what is found ends there
     */
    public function findProviders(string $key, Deadline $deadline, int $limit = 20): iterable;

    /**
     * Find where a peer can be reached.
     *
     * @return PeerInfo|null with the addresses that all who know it gave; null if nobody does
     *
     * @throws PeerUnreachable if no node of the table answered
     * @throws DeadlinePassed if the deadline passed before anybody knew
     */
    public function findPeer(PeerId $peer, Deadline $deadline): ?PeerInfo;

    /** Close the connections that are kept for the next lookup. */
    public function close(): void;
}
