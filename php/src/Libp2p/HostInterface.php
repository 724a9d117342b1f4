<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\RelayRefused;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\Io\Loop;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Dials peers. */
interface HostInterface
{
    public function peer(): PeerId;

    /** The event loop of all connections of this host. */
    public function loop(): Loop;

    /**
     * Connect to the peer that the address ends in.
     *
     * @param bool $publicOnly refuse private, loopback and other special addresses, also behind a name
     *
     * @throws UnsupportedAddress if it is not TCP to a named peer, directly or through one relay, or refused
     * @throws RelayRefused
     * @throws WrongPeer
     * @throws Libp2pException
     */
    public function dial(Multiaddr $address, Deadline $deadline, bool $publicOnly = false): ConnectionInterface;

    /**
     * Dial several addresses at once, of one peer or of many; the first to have proved its identity wins. Relays
     * are dialled a moment later than peers that can be reached without.
     *
     * @param list<Multiaddr> $addresses
     *
     * @throws PeerUnreachable if each of them failed
     * @throws Libp2pException
     */
    public function race(array $addresses, Deadline $deadline, bool $publicOnly = false): ConnectionInterface;

    /** Close every connection. */
    public function close(): void;
}
