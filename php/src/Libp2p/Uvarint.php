<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\ProtocolViolation;

/**
 * Unsigned integers of up to 63 bits in at most nine bytes.
 *
 * Source: multiformats/unsigned-varint. Only the shortest encoding of a number is taken.
 */
final class Uvarint
{
    public const MAX_BYTES = 9;

    public static function encode(int $number): string
    {
        if ($number < 0) {
            throw new \InvalidArgumentException('a uvarint is not negative');
        }
        $bytes = '';
        while ($number > 0x7F) {
            $bytes .= chr($number & 0x7F | 0x80);
            $number >>= 7;
        }

        return $bytes . chr($number);
    }

    /**
     * Read the number at `$offset` and move the offset behind it.
     *
     * @throws ProtocolViolation if it is cut off, too long, or not the shortest encoding
     */
    public static function decode(string $bytes, int &$offset): int
    {
        $number = 0;
        for ($place = 0; $place < self::MAX_BYTES; $place++) {
            if (!isset($bytes[$offset + $place])) {
                throw new ProtocolViolation('a uvarint is cut off');
            }
            $byte = ord($bytes[$offset + $place]);
            $number |= ($byte & 0x7F) << 7 * $place;
            if ($byte < 0x80) {
                if ($byte === 0 && $place > 0) {
                    throw new ProtocolViolation('a uvarint is longer than it need be');
                }
                $offset += $place + 1;

                return $number;
            }
        }
        throw new ProtocolViolation('a uvarint has more than nine bytes');
    }
}
