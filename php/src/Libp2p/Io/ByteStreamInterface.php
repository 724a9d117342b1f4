<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Deadline;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\TimedOut;

/** Bytes in order, both ways. */
interface ByteStreamInterface
{
    /**
     * Wait for bytes and return up to `$max` of them; '' at the end of the stream.
     *
     * @throws TimedOut and nothing is lost
     * @throws Libp2pException
     */
    public function read(int $max, Deadline $deadline): string;

    /**
     * Hand over all the bytes, waiting while too many stand in the queue.
     *
     * @throws TimedOut an unknown part of them is sent, or will be
     * @throws Libp2pException
     */
    public function write(string $bytes, Deadline $deadline): void;
}
