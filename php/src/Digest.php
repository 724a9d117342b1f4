<?php

declare(strict_types=1);

namespace Plasm;

/** SHA-256 digests, and the encodings under them (docs/determinism.md, "Three identities"). */
final class Digest
{
    public const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

    /** Return the digest of some bytes, in lower-case hexadecimal. */
    public static function of(string $bytes): string
    {
        return hash('sha256', $bytes);
    }

    /**
     * Return u64le(len) ‖ bytes for each item, in order.
     *
     * @param list<string> $items
     */
    public static function encodeList(array $items): string
    {
        return implode('', array_map(static fn (string $item): string => pack('P', strlen($item)) . $item, $items));
    }

    /**
     * Return the digest of a list of byte strings, as `args` and `env` are named by.
     *
     * @param list<string> $items
     */
    public static function ofList(array $items): string
    {
        return self::of(self::encodeList($items));
    }

    /**
     * Return the digest of u32le(len(name)) ‖ name ‖ u64le(len(value)) ‖ value for each field, in order.
     *
     * @param array<string, string> $fields
     */
    public static function tagged(array $fields): string
    {
        $encoded = '';
        foreach ($fields as $name => $value) {
            $encoded .= pack('V', strlen($name)) . $name . pack('P', strlen($value)) . $value;
        }

        return self::of($encoded);
    }
}
