<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** Writes modules that do nothing and are mostly data. */
final class LargeModule
{
    /** Write a module with one data segment of so many bytes, which do not compress. */
    public static function write(string $path, int $bytes): void
    {
        $file = fopen($path, 'wb');
        assert($file !== false);
        $section = static fn (int $id, string $body): string => chr($id) . self::leb(strlen($body)) . $body;
        $pages = intdiv($bytes, 65_536) + 1;
        fwrite($file, "\0asm\1\0\0\0"
            . $section(1, "\1\x60\0\0")
            . $section(3, "\1\0")
            . $section(5, "\1\0" . self::leb($pages))
            . $section(7, "\2\6memory\2\0\6_start\0\0")
            . $section(10, "\1\2\0\x0b"));
        $segment = "\1\0\x41\0\x0b" . self::leb($bytes);
        fwrite($file, "\x0b" . self::leb(strlen($segment) + $bytes) . $segment);
        for ($written = 0; $written < $bytes; $written += 1 << 20) {
            fwrite($file, random_bytes(min(1 << 20, $bytes - $written)));
        }
        fclose($file);
    }

    private static function leb(int $value): string
    {
        $bytes = '';
        for (; $value >= 0x80; $value >>= 7) {
            $bytes .= chr(0x80 | $value & 0x7f);
        }

        return $bytes . chr($value);
    }
}
