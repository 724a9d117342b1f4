<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Uvarint;
use Plasm\Time\Deadline;

/** Messages on a byte stream: a uvarint for the length, then that many bytes. Reads no byte too many. */
final class Framing
{
    public static function frame(string $message): string
    {
        return Uvarint::encode(strlen($message)) . $message;
    }

    /**
     * @throws ProtocolViolation if the message is longer than `$maxBytes`; nothing of it is read
     * @throws Libp2pException
     */
    public static function readMessage(ByteStreamInterface $stream, int $maxBytes, Deadline $deadline): string
    {
        $prefix = '';
        do {
            $byte = self::readExactly($stream, 1, $deadline);
            $prefix .= $byte;
        } while ($byte >= "\x80" && strlen($prefix) < Uvarint::MAX_BYTES);
        $offset = 0;
        $length = Uvarint::decode($prefix, $offset);
        if ($length > $maxBytes) {
            throw new ProtocolViolation("a message of $length bytes, where at most $maxBytes are taken");
        }

        return self::readExactly($stream, $length, $deadline);
    }

    /**
     * @throws ConnectionClosed if the stream ends before
     * @throws Libp2pException
     */
    public static function readExactly(ByteStreamInterface $stream, int $count, Deadline $deadline): string
    {
        $bytes = '';
        while (strlen($bytes) < $count) {
            $part = $stream->read($count - strlen($bytes), $deadline);
            if ($part === '') {
                throw new ConnectionClosed('the stream ended in the middle of a message');
            }
            $bytes .= $part;
        }

        return $bytes;
    }
}
