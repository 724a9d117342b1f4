<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Relay;

use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\RelayRefused;
use Plasm\Libp2p\Protobuf;
use Plasm\PeerId;

/**
 * The messages between a client and a relay.
 *
 * Source: libp2p specification, circuit-v2, "Protobuf"; only the fields that a client needs.
 */
final class HopMessage
{
    public const PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop';
    public const MAX_BYTES = 4096;

    private const CONNECT = 1;
    private const STATUS = 2;
    private const OK = 100;

    private const FIELD_TYPE = 1;
    private const FIELD_PEER = 2;
    private const FIELD_STATUS = 5;
    private const FIELD_PEER_ID = 1;

    /** Return the request for a circuit to a peer. */
    public static function connect(PeerId $peer): string
    {
        return Protobuf::number(self::FIELD_TYPE, self::CONNECT)
            . Protobuf::bytes(self::FIELD_PEER, Protobuf::bytes(self::FIELD_PEER_ID, $peer->multihash()));
    }

    /**
     * Read the answer to it.
     *
     * @throws RelayRefused unless there is a circuit now
     * @throws ProtocolViolation if it is no answer
     */
    public static function check(string $message): void
    {
        $type = $status = null;
        foreach (Protobuf::read($message) as [$field, $value]) {
            if ($field === self::FIELD_TYPE) {
                $type = $value;
            } elseif ($field === self::FIELD_STATUS) {
                $status = $value;
            }
        }
        if ($type !== self::STATUS || !is_int($status)) {
            throw new ProtocolViolation('the relay does not answer as relays do');
        }
        if ($status !== self::OK) {
            throw new RelayRefused($status);
        }
    }
}
