<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Digest;
use Plasm\Exception\InvalidRecord;
use Plasm\Output\Spool;
use Plasm\Source\SourceInterface;

/**
 * The pack of a tree (docs/protocol.md, "Jobs with files"): the length of its listing, the listing, each blob once.
 *
 * A tree that was packed cannot change any more, whatever becomes of the files it was made of.
 */
final class Pack implements SourceInterface
{
    public const PREFIX_BYTES = 4;

    private const CHUNK_BYTES = 1 << 20;

    /** The memory of an entry besides its bytes in the listing: an object, its strings, and its place in an index. */
    private const ENTRY_MEMORY_BYTES = 640;

    private ?string $sha256 = null;

    /**
     * @param string $head what stands in front of `$bytes`
     * @param list<TreeEntry> $entries
     * @param array<string, int> $offsets where each blob begins in the pack, by its digest
     * @param string $tree the digest of the listing, in hexadecimal
     */
    private function __construct(
        private readonly string $head,
        private readonly Spool $bytes,
        public readonly array $entries,
        private readonly array $offsets,
        public readonly string $tree,
    ) {
    }

    /**
     * Read all files once, and return the tree that was read.
     *
     * @param list<array{TreeEntry, \Closure(int): string|null}> $sources entries in any order; a file's has what returns
     *     its bytes from an offset, none at its end
     *
     * @throws InvalidRecord if the entries are no tree
     */
    public static function of(array $sources): self
    {
        usort($sources, static fn (array $a, array $b): int => strcmp($a[0]->path, $b[0]->path));
        $bytes = new Spool();
        $entries = $offsets = [];
        foreach ($sources as [$entry, $read]) {
            if ($read === null) {
                $entries[] = $entry;
                continue;
            }
            $mark = $bytes->mark();
            $hash = hash_init('sha256');
            for ($size = 0; ($chunk = $read($size)) !== ''; $size += strlen($chunk)) {
                hash_update($hash, $chunk);
                $bytes->append($chunk);
            }
            $digest = hash_final($hash, true);
            if (isset($offsets[$digest])) { // each blob once
                $bytes->restore($mark);
            } else {
                $offsets[$digest] = $mark->size();
            }
            $entries[] = new TreeEntry($entry->path, TreeEntry::FILE, $size, $digest);
        }
        $listing = Listing::encode($entries);
        $head = pack('V', strlen($listing)) . $listing;
        $offsets = array_map(static fn (int $offset): int => $offset + strlen($head), $offsets);

        return new self($head, $bytes, $entries, $offsets, Digest::of($listing));
    }

    /**
     * Return the tree whose pack some bytes are, with every blob compared with its digest.
     *
     * @param string $tree the digest that the tree must have
     * @param int $maximumBytes what all files together may have, equal ones counted each
     *
     * @throws InvalidRecord on anything else
     */
    public static function parse(Spool $bytes, string $tree, int $maximumEntries, int $maximumBytes): self
    {
        $size = $bytes->size();
        $prefix = unpack('V', str_pad($bytes->read(0, self::PREFIX_BYTES), self::PREFIX_BYTES, "\0"));
        $length = is_array($prefix) ? (int) $prefix[1] : 0;
        if ($length > min(Listing::MAX_BYTES, $size - self::PREFIX_BYTES)) {
            throw self::wrong("a pack of $size bytes with a listing of $length");
        }
        self::checkMemory($length, $maximumEntries);
        $listing = $bytes->read(self::PREFIX_BYTES, $length);
        if (Digest::of($listing) !== $tree) {
            throw self::wrong('the listing has another digest');
        }
        $entries = Listing::parse($listing, $maximumEntries);
        $offsets = [];
        $files = 0;
        $end = self::PREFIX_BYTES + $length;
        foreach ($entries as $entry) {
            $files += $entry->size; // 65,536 files of 2^40 bytes are 2^56
            if ($entry->kind === TreeEntry::FILE && !isset($offsets[$entry->digest])) {
                $offsets[$entry->digest] = $end;
                $end += $entry->size;
            }
        }
        if ($end !== $size) {
            throw self::wrong("a pack of $size bytes, whose listing tells of $end");
        }
        if ($files > $maximumBytes) {
            throw self::wrong("$files bytes of files, more than $maximumBytes");
        }
        $pack = new self('', $bytes, $entries, $offsets, $tree);
        $pack->checkBlobs();

        return $pack;
    }

    /** Return the bytes of all files together, equal ones counted each. */
    public function fileBytes(): int
    {
        return (int) array_sum(array_map(static fn (TreeEntry $entry): int => $entry->size, $this->entries));
    }

    public function size(): int
    {
        return strlen($this->head) + $this->bytes->size();
    }

    public function sha256(): string
    {
        return $this->sha256 ??= (function (): string {
            $hash = hash_init('sha256');
            for ($at = 0; $at < $this->size(); $at += self::CHUNK_BYTES) {
                hash_update($hash, $this->read($at, self::CHUNK_BYTES));
            }

            return hash_final($hash);
        })();
    }

    /** Return where a file's bytes begin in the pack. */
    public function offset(TreeEntry $file): int
    {
        return $this->offsets[$file->digest];
    }

    public function read(int $offset, int $length): string
    {
        $begin = strlen($this->head);
        $head = $offset < $begin ? substr($this->head, $offset, $length) : '';

        return $head . $this->bytes->read(max(0, $offset - $begin), $length - strlen($head));
    }

    private function checkBlobs(): void
    {
        $done = [];
        foreach ($this->entries as $entry) {
            if ($entry->kind !== TreeEntry::FILE || isset($done[$entry->digest])) {
                continue;
            }
            $done[$entry->digest] = true;
            $hash = hash_init('sha256');
            $begin = $this->offset($entry);
            for ($at = 0; $at < $entry->size; $at += self::CHUNK_BYTES) {
                hash_update($hash, $this->read($begin + $at, min(self::CHUNK_BYTES, $entry->size - $at)));
            }
            if (hash_final($hash, true) !== $entry->digest) {
                throw self::wrong('a file has another digest than its listing says');
            }
        }
    }

    /** Refuse a listing for which this PHP has no memory: PHP would end the request without an error. */
    private static function checkMemory(int $listingBytes, int $maximumEntries): void
    {
        $limit = ini_parse_quantity((string) ini_get('memory_limit'));
        $entries = min($maximumEntries, intdiv($listingBytes, 6));
        $needed = 3 * $listingBytes + $entries * self::ENTRY_MEMORY_BYTES;
        if ($limit > 0 && memory_get_usage() + $needed > $limit) {
            throw self::wrong("a listing of $listingBytes bytes, for which memory_limit leaves no room");
        }
    }

    private static function wrong(string $problem): InvalidRecord
    {
        return new InvalidRecord('pack', [['', $problem]]);
    }
}
