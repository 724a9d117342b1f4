<?php

declare(strict_types=1);

namespace Plasm\Source;

use Plasm\Exception\InvalidArgument;

/** Bytes in a file. */
final class FileSource implements SourceInterface
{
    private readonly int $size;
    private ?string $sha256 = null;

    /** @param resource $file open for reading, and seekable */
    private function __construct(private $file, private readonly string $name)
    {
        $size = fstat($file)['size'] ?? null;
        if ($size === null || !stream_get_meta_data($file)['seekable']) {
            throw new InvalidArgument("cannot seek in $name");
        }
        $this->size = $size;
    }

    /** @throws InvalidArgument if there is no such file, or it cannot be read */
    public static function open(string $path): self
    {
        $file = is_file($path) ? @fopen($path, 'rb') : false;
        if ($file === false) {
            $why = match (true) {
                !file_exists($path) => 'there is no such file',
                !is_file($path) => 'it is not a file',
                default => error_get_last()['message'] ?? 'it cannot be opened',
            };
            throw new InvalidArgument("cannot read $path: $why");
        }

        return new self($file, $path);
    }

    /**
     * Take an open stream from its beginning. One that cannot seek is copied to a temporary file first.
     *
     * @param resource $stream
     *
     * @throws InvalidArgument
     */
    public static function ofStream($stream): self
    {
        $meta = stream_get_meta_data($stream);
        if ($meta['seekable'] && fstat($stream) !== false) {
            return new self($stream, $meta['uri'] ?? 'the stream');
        }
        $copy = tmpfile();
        if ($copy === false || stream_copy_to_stream($stream, $copy) === false) {
            throw new InvalidArgument('cannot copy the stream to a temporary file');
        }

        return new self($copy, 'the copy of the stream');
    }

    public function size(): int
    {
        return $this->size;
    }

    public function sha256(): string
    {
        if ($this->sha256 === null) {
            $hash = hash_init('sha256');
            $this->seek(0);
            hash_update_stream($hash, $this->file, $this->size);
            $this->sha256 = hash_final($hash);
        }

        return $this->sha256;
    }

    public function read(int $offset, int $length): string
    {
        $length = min($length, $this->size - $offset);
        if ($length <= 0) {
            return '';
        }
        $this->seek($offset);
        $bytes = stream_get_contents($this->file, $length);
        if ($bytes === false || strlen($bytes) !== $length) {
            throw new InvalidArgument("$this->name became shorter, or unreadable, while it was sent");
        }

        return $bytes;
    }

    private function seek(int $offset): void
    {
        if (ftell($this->file) !== $offset && fseek($this->file, $offset) !== 0) {
            throw new InvalidArgument("cannot seek in $this->name");
        }
    }
}
