<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Time\Deadline;

/** Bytes in order, both ways. */
interface ByteStreamInterface
{
    /**
     * Wait for bytes and return up to `$max` of them; '' at the end of the stream.
     *
     * @throws DeadlinePassed and nothing is lost
     * @throws Libp2pException
     */
    public function read(int $max, Deadline $deadline): string;

    /**
     * Queue all the bytes, and wait while the queue is full. The loop sends the bytes for which the kernel has no room.
     *
     * @throws DeadlinePassed and some of them may have been sent
     * @throws Libp2pException
     */
    public function write(string $bytes, Deadline $deadline): void;
}
