<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\TransportException;
use Plasm\PeerId;
use Plasm\Time\ClockInterface;

/** The idle streams to each socket. A forked process uses none of its parent's streams. */
final class KeptStreams
{
    /** A stream is given up this long before the node closes it, because a message sent then could be lost. */
    private const MARGIN_S = 1.0;

    /** At least as many as the jobs that `Client::map()` runs at once by default. */
    private const MAX_IDLE = 32;

    /**
     * @var array<string, list<array{KeptStream, float, int|string}>> by path: streams, when they expire, and the
     * process that opened them
     */
    private array $streams = [];

    public function __construct(private readonly ClockInterface $clock)
    {
    }

    /** Keep a stream, in place of the oldest if there are too many. */
    public function put(string $path, KeptStream $kept): void
    {
        $process = self::process();
        if ($process === null) {
            $kept->stream->close();

            return;
        }
        if (count($this->streams[$path] ?? []) >= self::MAX_IDLE) {
            array_shift($this->streams[$path])[0]->stream->close();
        }
        $this->streams[$path][] = [$kept, $this->clock->now() + $kept->keepS - self::MARGIN_S, $process];
    }

    /**
     * Return the stream to a socket that was used last, if the node has not closed it; null if there is none.
     *
     * @param PeerId|null $peer the node to reach, null for any
     */
    public function take(string $path, ?PeerId $peer): ?KeptStream
    {
        while (($this->streams[$path] ?? []) !== []) {
            [$kept, $until, $process] = array_pop($this->streams[$path]);
            if ($process !== self::process()) {
                continue;
            }
            $isWanted = $peer === null || $kept->peer->equals($peer);
            if ($isWanted && $this->clock->now() < $until && self::isSilent($kept->stream)) {
                return $kept;
            }
            $kept->stream->close();
        }

        return null;
    }

    /**
     * Return what names this process; null if nothing tells, as where a host has disabled both functions and /proc cannot be
     * read.
     */
    private static function process(): int|string|null
    {
        $process = match (true) {
            function_exists('getmypid') => getmypid(),
            function_exists('posix_getpid') => posix_getpid(),
            default => @readlink('/proc/self'),
        };

        return $process === false ? null : $process;
    }

    /** Tell whether nothing has come, the stream's end included. */
    private static function isSilent(StreamInterface $stream): bool
    {
        try {
            return $stream->read(1, 0.0) === null;
        } catch (TransportException) {
            return false;
        }
    }
}
