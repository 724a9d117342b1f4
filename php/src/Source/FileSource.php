<?php

declare(strict_types=1);

namespace Plasm\Source;

use Plasm\Exception\InvalidArgument;

/**
 * The bytes of a file, as many as it has when it is first read.
 *
 * A pipe, a device, a file of /proc or a stream that cannot seek is copied to a temporary file: fstat() does not give
 * its size.
 */
final class FileSource implements SourceInterface
{
    private const MAX_COPIED_BYTES = 1 << 30;
    private const TYPE = 0170000;
    private const REGULAR = 0100000;
    private const DIRECTORY = 0040000;

    /** @var array{int, string}|null size and digest */
    private ?array $measured = null;

    /** @param resource $file open for reading, and seekable */
    private function __construct(private $file, private readonly string $name)
    {
    }

    /** @throws InvalidArgument if there is no such file, or it cannot be read */
    public static function open(string $path): self
    {
        // Where open_basedir forbids a look, each of these would warn.
        $exists = $path !== '' && !str_contains($path, "\0") && @file_exists($path);
        error_clear_last();
        $file = $exists && !@is_dir($path) ? @fopen($path, 'rb') : false;
        if ($file === false) {
            throw self::unreadable($path, $exists);
        }

        return self::isStored($file) ? new self($file, $path) : self::copyOf($file, $path);
    }

    /**
     * Return the error for a file that cannot be opened; PHP's last error says why, if it exists.
     *
     * @internal
     */
    public static function unreadable(string $path, bool $exists): InvalidArgument
    {
        $reason = preg_replace('/\A.*: /s', '', error_get_last()['message'] ?? 'it cannot be opened');
        [$why, $hint] = match (true) {
            $path === '' => ['the path is empty', null],
            str_contains($path, "\0") => ['there is no such file', null],
            !$exists && ini_get('open_basedir') !== '' => ['there is no such file, or open_basedir does not allow it', null],
            !$exists => ['there is no such file', MissingPath::hint($path)],
            @is_dir($path) => ['it is a directory', null],
            $reason === 'Too many open files' => [$reason, 'raise the limit of open files, as with: ulimit -n 4096'],
            default => [$reason, null],
        };

        return new InvalidArgument("cannot read $path: $why", hint: $hint);
    }

    /**
     * Take an open stream from its beginning. A stream that cannot seek is copied from its present position.
     *
     * @param resource $stream
     *
     * @throws InvalidArgument
     */
    public static function ofStream($stream): self
    {
        if (get_resource_type($stream) !== 'stream') {
            throw new InvalidArgument('expected a stream, got a resource of type ' . get_resource_type($stream));
        }
        $meta = stream_get_meta_data($stream);
        $name = $meta['uri'] ?? 'the stream';
        if (strpbrk($meta['mode'] ?? 'r', 'r+') === false) {
            throw new InvalidArgument("cannot read $name: it is open for writing only");
        }

        return self::isStored($stream) ? new self($stream, $name) : self::copyOf($stream, $name);
    }

    public function size(): int
    {
        return $this->measure()[0];
    }

    public function sha256(): string
    {
        return $this->measure()[1];
    }

    public function read(int $offset, int $length): string
    {
        $length = min($length, $this->size() - $offset);
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

    /** @return array{int, string} */
    private function measure(): array
    {
        if ($this->measured === null) {
            $hash = hash_init('sha256');
            $this->seek(0);
            $size = hash_update_stream($hash, $this->file);
            $this->measured = [$size, hash_final($hash)];
        }

        return $this->measured;
    }

    private function seek(int $offset): void
    {
        if (ftell($this->file) !== $offset && fseek($this->file, $offset) !== 0) {
            throw new InvalidArgument("cannot seek in $this->name");
        }
    }

    /**
     * Tell whether a stream can be read twice: it is in memory, or in a regular file whose size the kernel knows.
     *
     * @param resource $stream
     */
    private static function isStored($stream): bool
    {
        $meta = stream_get_meta_data($stream);
        $status = @fstat($stream);
        if (!$meta['seekable'] || $status === false) {
            return false;
        }
        if (in_array($meta['stream_type'], ['MEMORY', 'TEMP'], true)) {
            return true;
        }

        return ($status['mode'] & self::TYPE) === self::REGULAR && $status['size'] > 0 && $meta['wrapper_type'] === 'plainfile';
    }

    /** @param resource $stream */
    private static function copyOf($stream, string $name): self
    {
        $status = @fstat($stream);
        if ($status !== false && ($status['mode'] & self::TYPE) === self::DIRECTORY) {
            throw new InvalidArgument("cannot read $name: it is a directory");
        }
        $copy = @tmpfile() ?: throw new InvalidArgument("cannot copy $name: no temporary file can be made");
        $meta = stream_get_meta_data($stream);
        if ($meta['seekable']) {
            @rewind($stream);
        }
        $blocks = $meta['blocked'] ?? true; // the wrapper `data:` does not tell its size
        if (!$blocks) {
            stream_set_blocking($stream, true); // otherwise data that has not arrived yet would be taken for the end
        }
        $size = @stream_copy_to_stream($stream, $copy, self::MAX_COPIED_BYTES + 1);
        $isWhole = $size !== false && !(stream_get_meta_data($stream)['timed_out'] ?? false);
        if (!$blocks) {
            stream_set_blocking($stream, false);
        }
        if (!$isWhole) {
            throw new InvalidArgument("cannot copy $name to a temporary file");
        }
        if ($size > self::MAX_COPIED_BYTES) {
            throw new InvalidArgument("$name has more than " . self::MAX_COPIED_BYTES . ' bytes');
        }

        return new self($copy, "the copy of $name");
    }
}
