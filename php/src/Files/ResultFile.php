<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidArgument;

/** A file that a job left. Its bytes are those whose digest the receipt states, and are read when they are asked for. */
final readonly class ResultFile implements \Stringable
{
    private const CHUNK_BYTES = 1 << 20;

    /**
     * @param string $path in the job's tree, without a slash at the beginning
     * @param string $sha256 in hexadecimal
     * @param \Closure(int, int): string $read
     */
    public function __construct(
        public string $path,
        public int $sizeBytes,
        public string $sha256,
        private \Closure $read,
    ) {
    }

    public function contents(): string
    {
        return $this->sizeBytes === 0 ? '' : ($this->read)(0, $this->sizeBytes);
    }

    public function __toString(): string
    {
        return $this->contents();
    }

    /** @return iterable<int, string> its bytes, piece by piece */
    public function chunks(int $chunkBytes = self::CHUNK_BYTES): iterable
    {
        for ($at = 0; $at < $this->sizeBytes; $at += $chunkBytes) {
            yield ($this->read)($at, min($chunkBytes, $this->sizeBytes - $at));
        }
    }

    /**
     * Write it to a stream.
     *
     * @param resource $stream
     *
     * @throws InvalidArgument if the stream does not take it
     */
    public function copyTo($stream): void
    {
        foreach ($this->chunks() as $chunk) {
            for ($rest = $chunk; $rest !== ''; $rest = substr($rest, $written)) {
                $written = @fwrite($stream, $rest);
                if ($written === false || $written === 0) {
                    throw new InvalidArgument('cannot write ' . Listing::shown($this->path) . ': is the disk full?');
                }
            }
        }
    }

    /**
     * Write it to a file of this machine, which is replaced.
     *
     * @throws InvalidArgument if it cannot be written
     */
    public function save(string $file): void
    {
        Destination::of($file)->writeFile($this);
    }
}
