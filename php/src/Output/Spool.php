<?php

declare(strict_types=1);

namespace Plasm\Output;

/** Bytes that are written once and read at will; beyond some memory, 2 MiB if not said, they go to a temporary file. */
final class Spool
{
    private const MEMORY_BYTES = 2 << 20;

    /** @var resource */
    private $file;
    private Digester $digester;

    public function __construct(private readonly int $memoryBytes = self::MEMORY_BYTES)
    {
        $this->clear();
    }

    public function append(string $bytes): void
    {
        fseek($this->file, 0, SEEK_END);
        for ($rest = $bytes; $rest !== ''; $rest = substr($rest, $written)) {
            $written = fwrite($this->file, $rest);
            if ($written === false || $written === 0) {
                throw new \RuntimeException('cannot write to the temporary file: is the disk full?');
            }
        }
        $this->digester->update($bytes);
    }

    public function clear(): void
    {
        $file = fopen("php://temp/maxmemory:$this->memoryBytes", 'w+b');
        if ($file === false) {
            throw new \RuntimeException('cannot open a temporary file');
        }
        $this->file = $file;
        $this->digester = new Digester();
    }

    /** Return a mark for `restore`, which drops the bytes appended after it. */
    public function mark(): Digester
    {
        return clone $this->digester;
    }

    /** Forget the bytes that were appended since a mark. */
    public function restore(Digester $mark): void
    {
        if (!ftruncate($this->file, $mark->size())) {
            throw new \RuntimeException('cannot shorten the temporary file');
        }
        $this->digester = clone $mark;
    }

    public function size(): int
    {
        return $this->digester->size();
    }

    public function sha256(): string
    {
        return $this->digester->sha256();
    }

    /** Return at most `$length` bytes from `$offset`, and fewer only at the end. */
    public function read(int $offset, int $length): string
    {
        return $length <= 0 ? '' : (string) stream_get_contents($this->file, $length, $offset);
    }

    public function contents(): string
    {
        return (string) stream_get_contents($this->file, -1, 0);
    }

    /**
     * Return the bytes as a stream, at its beginning. It is the same one each time.
     *
     * @return resource
     */
    public function stream()
    {
        rewind($this->file);

        return $this->file;
    }
}
