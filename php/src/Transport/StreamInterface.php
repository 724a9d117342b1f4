<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\TimedOut;
use Plasm\PeerId;

/** Bytes to and from one node, in order. It knows nothing of jobs. */
interface StreamInterface
{
    /** Return the identity that the node proved; null if the carrier proves none, as a local socket. */
    public function remotePeer(): ?PeerId;

    /**
     * Send all the bytes, waiting while the other side is slow to take them.
     *
     * @throws ConnectionLost
     * @throws TimedOut if nothing could be sent for `$idleS` seconds
     */
    public function write(string $bytes, float $idleS): void;

    /**
     * Return at least one byte and at most `$maxBytes`; '' at the end of the stream.
     *
     * @return string|null null if nothing came within `$waitS` seconds; 0 only looks
     *
     * @throws ConnectionLost
     */
    public function read(int $maxBytes, float $waitS): ?string;

    /** End the stream. Never throws; doing it twice is harmless. */
    public function close(): void;
}
