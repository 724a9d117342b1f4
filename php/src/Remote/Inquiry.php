<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\ConnectionInterface;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Io\Framing;
use Plasm\Time\Deadline;

/** Asks a node for its capability record: the answer is a big-endian u32 length, then that many bytes. */
final class Inquiry
{
    public const PROTOCOL = '/phase/capabilities/1.0.0';

    private const MAX_ENVELOPE_BYTES = 2 * CapabilityRecord::MAX_BYTES;

    /**
     * @throws InvalidRecord if the record is invalid
     * @throws Libp2pException
     */
    public static function ask(ConnectionInterface $connection, Deadline $deadline): CapabilityRecord
    {
        $stream = $connection->openStream(self::PROTOCOL, $deadline);
        try {
            $length = unpack('Nlength', Framing::readExactly($stream, 4, $deadline))['length'] ?? 0;
            if ($length > self::MAX_ENVELOPE_BYTES) {
                throw new InvalidRecord('capability record', [['', "$length bytes long"]]);
            }
            $envelopeJson = Framing::readExactly($stream, $length, $deadline);
        } finally {
            $stream->close();
        }

        return CapabilityRecord::open($envelopeJson, $connection->remotePeer(), microtime(true));
    }
}
