<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Io\ByteStreamInterface;

/** One of many byte streams on a connection. Each side ends its own direction. */
interface StreamInterface extends ByteStreamInterface
{
    /** Close the stream for writing. Reading is still possible. */
    public function closeWrite(): void;

    /** Close the stream: end this side's direction and drop the bytes that still arrive. Never throws. */
    public function close(): void;

    /** Give up both directions at once and let the peer know. Never throws; doing it twice is harmless. */
    public function reset(): void;
}
