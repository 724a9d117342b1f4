<?php

declare(strict_types=1);

namespace Plasm\Record;

/**
 * Makes untrusted text safe for a terminal or a log.
 *
 * The twin of `plasm_core.printable`; tests/vectors/printable.json tests both: control characters of
 * ASCII and of ISO 6429's C1 set, the marks that turn the direction of writing (UAX #9), separators, and what
 * Unicode has not assigned are not printable.
 */
final class Printable
{
    private const UNPRINTABLE = '/(?! )[\p{C}\p{Z}]/u';
    private const SHORT = ["\t" => '\t', "\n" => '\n', "\r" => '\r'];

    /** Write unprintable characters out, as `\x9b` and `\u202e`; of bytes that are no UTF-8, all beyond ASCII. */
    public static function visible(string $text): string
    {
        $shown = preg_replace_callback(
            self::UNPRINTABLE,
            static fn (array $found): string => self::SHORT[$found[0]] ?? self::escaped(self::point($found[0])),
            $text,
        );

        return $shown ?? (string) preg_replace_callback(
            '/[^\x20-\x7e]/',
            static fn (array $found): string => self::SHORT[$found[0]] ?? self::escaped(ord($found[0])),
            $text,
        );
    }

    private static function escaped(int $point): string
    {
        return sprintf(match (true) {
            $point < 0x100 => '\x%02x',
            $point < 0x10000 => '\u%04x',
            default => '\U%08x',
        }, $point);
    }

    /** Return the code point of one character in UTF-8, without the extension mbstring. */
    private static function point(string $character): int
    {
        $bytes = array_values((array) unpack('C*', $character));
        $point = match (count($bytes)) {
            1 => $bytes[0],
            2 => $bytes[0] & 0x1F,
            3 => $bytes[0] & 0x0F,
            default => $bytes[0] & 0x07,
        };
        foreach (array_slice($bytes, 1) as $byte) {
            $point = $point << 6 | $byte & 0x3F;
        }

        return $point;
    }
}
