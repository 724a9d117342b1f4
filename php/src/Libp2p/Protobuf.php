<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\ProtocolViolation;

/**
 * The part of protobuf's wire format that libp2p's messages use.
 *
 * Source: protobuf.dev, Encoding. Groups, deprecated in it, are refused.
 */
final class Protobuf
{
    private const MAX_FIELDS = 4096;

    private const VARINT = 0;
    private const FIXED64 = 1;
    private const BYTES = 2;
    private const FIXED32 = 5;

    public static function number(int $field, int $value): string
    {
        return Uvarint::encode($field << 3 | self::VARINT) . Uvarint::encode($value);
    }

    public static function bytes(int $field, string $value): string
    {
        return Uvarint::encode($field << 3 | self::BYTES) . Uvarint::encode(strlen($value)) . $value;
    }

    /**
     * Read a message's fields in their order.
     *
     * @return list<array{int, int|string}> number and value; fixed-width values are left out
     *
     * @throws ProtocolViolation if it is cut off, malformed, or has over 4096 fields
     */
    public static function read(string $message): array
    {
        $fields = [];
        for ($offset = 0, $seen = 0; $offset < strlen($message); $seen++) {
            if ($seen === self::MAX_FIELDS) {
                throw new ProtocolViolation('a message has too many fields');
            }
            $tag = Uvarint::decode($message, $offset);
            $field = $tag >> 3;
            if ($field === 0) {
                throw new ProtocolViolation('a message has a field 0');
            }
            switch ($tag & 7) {
                case self::VARINT:
                    $fields[] = [$field, self::varint($message, $offset)];
                    continue 2;
                case self::BYTES:
                    $size = Uvarint::decode($message, $offset);
                    break;
                case self::FIXED64:
                    $size = 8;
                    break;
                case self::FIXED32:
                    $size = 4;
                    break;
                default:
                    throw new ProtocolViolation('a message has a field of an unknown type');
            }
            if ($size > strlen($message) - $offset) {
                throw new ProtocolViolation('a message is cut off');
            }
            if (($tag & 7) === self::BYTES) {
                $fields[] = [$field, substr($message, $offset, $size)];
            }
            $offset += $size;
        }

        return $fields;
    }

    /** Read up to ten bytes, as protobuf writes negative numbers; bits over 64 are dropped. */
    private static function varint(string $message, int &$offset): int
    {
        $number = 0;
        for ($place = 0; $place < 10; $place++, $offset++) {
            if (!isset($message[$offset])) {
                throw new ProtocolViolation('a message is cut off');
            }
            $byte = ord($message[$offset]);
            $number |= ($byte & 0x7F) << 7 * $place;
            if ($byte < 0x80) {
                $offset++;

                return $number;
            }
        }
        throw new ProtocolViolation('a number in a message has more than ten bytes');
    }
}
