<?php

declare(strict_types=1);

namespace Plasm\Record;

/** base58btc, without a multibase prefix. */
final class Base58
{
    private const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

    public static function encode(string $bytes): string
    {
        $digits = self::convert(array_values((array) unpack('C*', $bytes)), 256, 58);
        $zeros = strspn($bytes, "\0");

        return str_repeat('1', $zeros) . implode('', array_map(static fn (int $digit): string => self::ALPHABET[$digit], $digits));
    }

    /** @throws \UnexpectedValueException if a character is none of base58btc's */
    public static function decode(string $text): string
    {
        $digits = [];
        foreach (str_split($text) as $character) {
            $digit = strpos(self::ALPHABET, $character);
            if ($digit === false) {
                throw new \UnexpectedValueException('not base58btc');
            }
            $digits[] = $digit;
        }
        $bytes = self::convert($digits, 58, 256);

        return str_repeat("\0", strspn($text, '1')) . ($bytes === [] ? '' : pack('C*', ...$bytes));
    }

    /**
     * Write a number in another base, most significant digit first, without leading zeros.
     *
     * @param list<int> $digits
     *
     * @return list<int>
     */
    private static function convert(array $digits, int $from, int $to): array
    {
        $result = [];
        foreach ($digits as $carry) {
            foreach ($result as $place => $digit) {
                $carry += $digit * $from;
                $result[$place] = $carry % $to;
                $carry = intdiv($carry, $to);
            }
            while ($carry > 0) {
                $result[] = $carry % $to;
                $carry = intdiv($carry, $to);
            }
        }

        return array_reverse($result);
    }
}
