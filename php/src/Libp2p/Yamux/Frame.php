<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Yamux;

use Plasm\Libp2p\Exception\ProtocolViolation;

/**
 * The header of twelve bytes that each frame begins with.
 *
 * Source: hashicorp/yamux, spec.md, "Framing".
 */
final readonly class Frame
{
    public const HEADER_BYTES = 12;

    public const DATA = 0;
    public const WINDOW_UPDATE = 1;
    public const PING = 2;
    public const GO_AWAY = 3;

    public const SYN = 1;
    public const ACK = 2;
    public const FIN = 4;
    public const RST = 8;

    public const NORMAL = 0;
    public const PROTOCOL_ERROR = 1;

    /** @param int $length bytes that follow (DATA), credit (WINDOW_UPDATE), a value (PING) or a reason (GO_AWAY) */
    public function __construct(public int $type, public int $flags, public int $stream, public int $length)
    {
    }

    /** @throws ProtocolViolation */
    public static function decode(string $header): self
    {
        $fields = unpack('Cversion/Ctype/nflags/Nstream/Nlength', $header);
        if ($fields === false || $fields['version'] !== 0 || $fields['type'] > self::GO_AWAY) {
            throw new ProtocolViolation('not a header of yamux');
        }
        if (($fields['stream'] === 0) !== ($fields['type'] >= self::PING)) {
            throw new ProtocolViolation('a frame of yamux is for the wrong stream');
        }

        return new self($fields['type'], $fields['flags'], $fields['stream'], $fields['length']);
    }

    public function encode(): string
    {
        return pack('CCnNN', 0, $this->type, $this->flags, $this->stream, $this->length);
    }

    public function has(int $flag): bool
    {
        return ($this->flags & $flag) !== 0;
    }
}
