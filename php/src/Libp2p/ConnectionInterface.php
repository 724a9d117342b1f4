<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** A connection to a peer that has proved its identity. */
interface ConnectionInterface
{
    public function remotePeer(): PeerId;

    /** The address that was dialled. */
    public function remoteAddress(): Multiaddr;

    /**
     * Open a stream and agree on its protocol.
     *
     * @param string $first sent along with the proposal, which saves a round trip
     *
     * @throws UnsupportedProtocol
     * @throws Libp2pException
     */
    public function openStream(string $protocol, Deadline $deadline, string $first = ''): StreamInterface;

    /**
     * Return the round-trip time in seconds; the peer is alive.
     *
     * @throws Libp2pException
     */
    public function ping(Deadline $deadline): float;

    /** Whether new streams can be tried. */
    public function isOpen(): bool;

    /** Close the connection and all its streams. Never throws; a second call is harmless. */
    public function close(): void;
}
