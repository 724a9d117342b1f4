<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidRecord;

/** The listing of a tree of files, as its digest is taken of (docs/files.md, "The listing"). */
final class Listing
{
    public const MAX_ENTRIES = 65_536;
    public const MAX_PATH_BYTES = 1024;

    /** The most bytes that a listing of `MAX_ENTRIES` entries can have. */
    public const MAX_BYTES = 14 + self::MAX_ENTRIES * (5 + self::MAX_PATH_BYTES + 4 + self::MAX_TARGET_BYTES);

    private const MAGIC = "plasm.tree/v1\n";
    private const MAX_NAME_BYTES = 255;
    private const MAX_TARGET_BYTES = 1024;
    private const MAX_FILE_BYTES = 1 << 40;

    /**
     * Return the listing of entries in any order.
     *
     * @param list<TreeEntry> $entries
     *
     * @throws InvalidRecord if they are no tree
     */
    public static function encode(array $entries): string
    {
        usort($entries, static fn (TreeEntry $a, TreeEntry $b): int => strcmp($a->path, $b->path));
        $listing = self::MAGIC;
        foreach ($entries as $entry) {
            $listing .= chr($entry->kind) . pack('V', strlen($entry->path)) . $entry->path . match ($entry->kind) {
                TreeEntry::FILE => pack('P', $entry->size) . $entry->digest,
                TreeEntry::LINK => pack('V', strlen($entry->target)) . $entry->target,
                default => '',
            };
        }
        self::parse($listing);

        return $listing;
    }

    /**
     * Read a listing of at most `$maximum` entries.
     *
     * @return list<TreeEntry>
     *
     * @throws InvalidRecord
     */
    public static function parse(string $listing, int $maximum = self::MAX_ENTRIES): array
    {
        if (!str_starts_with($listing, self::MAGIC)) {
            throw self::wrong('not the listing of a tree');
        }
        $entries = [];
        $directories = ['' => true];
        $last = '';
        for ($at = strlen(self::MAGIC); $at < strlen($listing);) {
            if (count($entries) >= $maximum) {
                throw self::wrong("more than $maximum entries");
            }
            $kind = ord(self::take($listing, $at, 1));
            $path = self::text($listing, $at, self::MAX_PATH_BYTES, 'a path');
            $slash = strrpos($path, '/');
            $parent = $slash === false ? '' : substr($path, 0, $slash);
            if ($parent !== '' && isset($directories[$parent])) { // its names are known to be right, however many they are
                self::checkText($path);
                self::checkName(substr($path, strlen($parent) + 1), $path);
            } else {
                self::checkPath($path);
            }
            if (strcmp($path, $last) <= 0) {
                throw self::wrong(self::shown($path) . ' is out of order');
            }
            if (!isset($directories[$parent])) {
                throw self::wrong(self::shown($path) . ' is in no directory of the tree');
            }
            if ($kind === TreeEntry::DIRECTORY) {
                $directories[$path] = true;
            }
            $entries[] = self::entry($kind, $path, $listing, $at);
            $last = $path;
        }

        return $entries;
    }

    /** @throws InvalidRecord if it is no path of a tree */
    public static function checkPath(string $path): void
    {
        if ($path === '') {
            throw self::wrong('an empty path');
        }
        if (strlen($path) > self::MAX_PATH_BYTES) {
            throw self::wrong('a path of ' . strlen($path) . ' bytes, more than ' . self::MAX_PATH_BYTES);
        }
        self::checkText($path);
        foreach (explode('/', $path) as $name) {
            self::checkName($name, $path);
        }
    }

    /** Show a path that may be anybody's: short, on one line, in ASCII. */
    public static function shown(string $path): string
    {
        return "'" . substr(addcslashes($path, "\0..\37\177..\377'\\"), 0, 200) . "'";
    }

    private static function entry(int $kind, string $path, string $listing, int &$at): TreeEntry
    {
        if ($kind === TreeEntry::DIRECTORY) {
            return new TreeEntry($path, $kind);
        }
        if ($kind === TreeEntry::LINK) {
            $target = self::text($listing, $at, self::MAX_TARGET_BYTES, 'the target of ' . self::shown($path));
            if ($target === '' || $target[0] === '/') {
                throw self::wrong(self::shown($target) . ' is no relative target of a link');
            }
            self::checkText($target);

            return new TreeEntry($path, $kind, target: $target);
        }
        if ($kind !== TreeEntry::FILE) {
            throw self::wrong(self::shown($path) . " is of the unknown kind $kind");
        }
        $size = self::number('P', self::take($listing, $at, 8));
        if ($size < 0 || $size > self::MAX_FILE_BYTES) { // 64 bits without a sign
            throw self::wrong(self::shown($path) . ' has more than ' . self::MAX_FILE_BYTES . ' bytes');
        }

        return new TreeEntry($path, $kind, $size, self::take($listing, $at, 32));
    }

    private static function text(string $listing, int &$at, int $maximum, string $what): string
    {
        $length = self::number('V', self::take($listing, $at, 4));
        if ($length > $maximum) {
            throw self::wrong("$what of $length bytes, more than $maximum");
        }

        return self::take($listing, $at, $length);
    }

    private static function take(string $listing, int &$at, int $length): string
    {
        $bytes = substr($listing, $at, $length);
        if (strlen($bytes) !== $length) {
            throw self::wrong('cut short');
        }
        $at += $length;

        return $bytes;
    }

    private static function number(string $format, string $bytes): int
    {
        $value = unpack("{$format}value", $bytes);
        assert(is_array($value) && is_int($value['value']));

        return $value['value'];
    }

    private static function checkName(string $name, string $path): void
    {
        if ($name === '' || $name === '.' || $name === '..') {
            throw self::wrong(self::shown($path) . ' has an empty name, . or ..');
        }
        if (strlen($name) > self::MAX_NAME_BYTES) {
            throw self::wrong('a name in ' . self::shown($path) . ' has more than ' . self::MAX_NAME_BYTES . ' bytes');
        }
    }

    private static function checkText(string $text): void
    {
        if (preg_match('//u', $text) !== 1) {
            throw self::wrong(self::shown($text) . ' is not UTF-8');
        }
        if (str_contains($text, "\0")) {
            throw self::wrong(self::shown($text) . ' contains NUL');
        }
    }

    private static function wrong(string $problem): InvalidRecord
    {
        return new InvalidRecord('listing', [['', $problem]]);
    }
}
