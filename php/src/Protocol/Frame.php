<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Record\Json;

/** Encodes frames (docs/protocol.md, "Frames"). */
final class Frame
{
    public const CONTROL = 0;
    public const DATA = 1;
    public const MAX_CONTROL_BYTES = 131_072;
    /** The commas and opening brackets that a control object may have outside its strings. */
    public const MAX_VALUES = 1000;
    public const MAX_DATA_BYTES = 65_536;
    public const DATA_HEADER_BYTES = 10;

    /** Encode a message. */
    public static function control(ClientMessage $message): string
    {
        $body = Json::encode(['type' => $message->type, ...$message->fields]);
        if (strlen($body) > self::MAX_CONTROL_BYTES) {
            throw new \LengthException('a message of ' . strlen($body) . ' bytes cannot be sent');
        }

        return pack('NC', 1 + strlen($body), self::CONTROL) . $body;
    }

    /** Encode 1 to `MAX_DATA_BYTES` bytes of a channel. */
    public static function data(Channel $channel, int $offset, string $bytes): string
    {
        $length = strlen($bytes);
        if ($length < 1 || $length > self::MAX_DATA_BYTES) {
            throw new \LengthException("$length bytes are no data frame");
        }

        return pack('NCCJ', self::DATA_HEADER_BYTES + $length, self::DATA, $channel->value, $offset) . $bytes;
    }
}
