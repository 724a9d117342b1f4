<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Time\Deadline;

/** A byte stream that can be driven by the loop's callbacks, and that carries all of a connection. */
interface ChannelInterface extends ByteStreamInterface
{
    /**
     * Return the bytes that have arrived, up to about `$max`; null if there are none, '' at the end.
     *
     * @throws Libp2pException
     */
    public function tryRead(int $max): ?string;

    /**
     * Wait until there is room in the queue.
     *
     * @throws Libp2pException
     */
    public function drain(Deadline $deadline): void;

    /**
     * Queue bytes without waiting.
     *
     * @throws Libp2pException if the peer has let too many pile up
     */
    public function post(string $bytes): void;

    /** @param (\Closure(): void)|null $callback called when `tryRead` may have something; null ends it */
    public function onReadable(?\Closure $callback): void;

    /** Close the connection at once. A second call is harmless. */
    public function close(): void;
}
