<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

/** Bytes on their way, first in, first out. */
final class Buffer
{
    /** Bytes already taken are dropped when they are this many and the greater half. */
    private const SLACK_BYTES = 65536;

    private string $bytes = '';
    private int $offset = 0;

    public function append(string $bytes): void
    {
        $this->bytes .= $bytes;
    }

    public function length(): int
    {
        return strlen($this->bytes) - $this->offset;
    }

    public function peek(int $max): string
    {
        return substr($this->bytes, $this->offset, $max);
    }

    public function take(int $max): string
    {
        $taken = $this->offset === 0 && $max >= strlen($this->bytes) ? $this->bytes : $this->peek($max);
        $this->skip(strlen($taken));

        return $taken;
    }

    public function skip(int $count): void
    {
        $this->offset += $count;
        if ($this->offset >= strlen($this->bytes)) {
            $this->clear();
        } elseif ($this->offset > self::SLACK_BYTES && $this->offset > strlen($this->bytes) >> 1) {
            $this->bytes = substr($this->bytes, $this->offset);
            $this->offset = 0;
        }
    }

    public function clear(): void
    {
        $this->bytes = '';
        $this->offset = 0;
    }
}
