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
     * Queue all the bytes, waiting while too many stand in the queue. The loop sends what the kernel has no room for.
     *
     * @throws TimedOut and some of them may have been sent
     * @throws Libp2pException
     */
    public function write(string $bytes, Deadline $deadline): void;
}
