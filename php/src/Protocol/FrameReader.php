<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Exception\ProtocolError;

/** Splits a node's bytes into frames. It stores at most one frame, and the bytes of the last call. */
final class FrameReader
{
    private string $buffer = '';

    /** How much of the buffer has been read. */
    private int $start = 0;

    /** Take bytes, which `next()` makes frames of. */
    public function feed(string $bytes): void
    {
        $this->buffer = substr($this->buffer, $this->start) . $bytes;
        $this->start = 0;
    }

    /**
     * Return the next frame, or null as long as it is not complete.
     *
     * @throws ProtocolError
     */
    public function next(): Data|NodeMessage|null
    {
        $end = $this->end($this->start);
        if ($end === null || $end > strlen($this->buffer)) {
            return null;
        }
        $frame = substr($this->buffer, $this->start + 4, $end - $this->start - 4);
        $this->start = $end;

        return self::decode($frame);
    }

    /** Tell whether the stream may end here. */
    public function isBetweenFrames(): bool
    {
        return $this->start === strlen($this->buffer);
    }

    /** Return where the frame at `$start` ends, null if its header is incomplete. Throws if it is too long. */
    private function end(int $start): ?int
    {
        $available = strlen($this->buffer) - $start;
        if ($available < 4) {
            return null;
        }
        $length = self::unpacked('N', $this->buffer, $start);
        if ($length === 0) {
            throw new ProtocolError('a frame without a type');
        }
        if ($available < 5) {
            return null;
        }
        $type = ord($this->buffer[$start + 4]);
        $limit = match ($type) {
            Frame::CONTROL => 1 + Frame::MAX_CONTROL_BYTES,
            Frame::DATA => Frame::DATA_HEADER_BYTES + Frame::MAX_DATA_BYTES,
            default => throw new ProtocolError("there is no frame of type $type"),
        };
        if ($length > $limit) {
            throw new ProtocolError("a frame of $length bytes, more than the $limit allowed");
        }

        return $start + 4 + $length;
    }

    private static function decode(string $frame): Data|NodeMessage
    {
        if (ord($frame[0]) === Frame::CONTROL) {
            return NodeMessage::parse(substr($frame, 1));
        }
        if (strlen($frame) <= Frame::DATA_HEADER_BYTES) {
            throw new ProtocolError('a data frame without bytes');
        }
        $number = ord($frame[1]);
        $channel = Channel::tryFrom($number) ?? throw new ProtocolError("there is no channel $number");
        $offset = self::unpacked('J', $frame, 2);
        if ($offset < 0) {
            throw new ProtocolError('an offset beyond 63 bits');
        }

        return new Data($channel, $offset, substr($frame, Frame::DATA_HEADER_BYTES));
    }

    private static function unpacked(string $format, string $bytes, int $offset): int
    {
        $value = unpack("{$format}value", $bytes, $offset);
        assert(is_array($value) && is_int($value['value']));

        return $value['value'];
    }
}
