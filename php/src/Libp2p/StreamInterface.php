<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Io\ByteStreamInterface;

/** One of many byte streams on a connection. Each side ends its own direction. */
interface StreamInterface extends ByteStreamInterface
{
    /** End this side's direction. What is to be read can still be read. */
    public function closeWrite(): void;

    /** Let go once all is said: ends this side's direction and drops what still comes. Never throws. */
    public function close(): void;

    /** Give up both directions at once and let the peer know. Never throws; doing it twice is harmless. */
    public function reset(): void;
}
