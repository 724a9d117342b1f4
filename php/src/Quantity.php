<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;

/** Numbers with units and durations, in the words of the command line's options (tests/vectors/quantities.json). */
final class Quantity
{
    private const UNITS = [
        '' => 1, 'k' => 10 ** 3, 'm' => 10 ** 6, 'g' => 10 ** 9, 't' => 10 ** 12,
        'ki' => 1 << 10, 'mi' => 1 << 20, 'gi' => 1 << 30, 'ti' => 1 << 40,
    ];

    private const SECONDS = ['' => 1, 's' => 1, 'm' => 60, 'min' => 60, 'h' => 3600];

    /**
     * Read a whole number: an integer, a float such as `1e9`, or a text such as `"1e9"`, `"64MiB"` and `"2G"`.
     *
     * @throws InvalidArgument
     */
    public static function of(mixed $value, string $name): int
    {
        if (!is_string($value)) {
            return self::whole($value, $name);
        }
        $text = strtolower(trim($value));
        if (
            preg_match('/\A([0-9]{1,20})(?:\.([0-9]{1,20}))?(?:e([0-9]{1,2}))?\s*([kmgt]?i?)b?\z/', $text, $part) !== 1
            || !isset(self::UNITS[$part[4]])
        ) {
            throw new InvalidArgument("$name: expected a number such as \"1e9\" or \"64MiB\", got \"$value\"");
        }
        $found = self::exact($part[1], $part[2], (int) $part[3], self::UNITS[$part[4]]);
        if ($found === null || ($part[4] === '' && !$found[1])) {
            throw new InvalidArgument("$name: expected a whole number below 2^53, got \"$value\"");
        }

        return $found[0];
    }

    /**
     * Read a duration in whole seconds: a number, or a text such as `"30s"`, `"5min"` and `"2h"`.
     *
     * @throws InvalidArgument
     */
    public static function seconds(mixed $value, string $name): int
    {
        if (!is_string($value)) {
            return self::whole($value, $name);
        }
        if (preg_match('/\A([0-9]{1,9})\s*(s|min|m|h)?\z/', strtolower(trim($value)), $part) !== 1) {
            $forms = 'whole seconds, minutes or hours, such as "30s", "5min" or "2h"';
            throw new InvalidArgument("$name: expected $forms, got \"$value\"");
        }

        return (int) $part[1] * self::SECONDS[$part[2] ?? ''];
    }

    /** Return a number of bytes in the greatest unit that divides it, as in 256MiB; `of` reads it. */
    public static function bytesText(int $value): string
    {
        foreach (['TiB' => 1 << 40, 'GiB' => 1 << 30, 'MiB' => 1 << 20, 'KiB' => 1 << 10] as $name => $size) {
            if ($value > 0 && $value % $size === 0) {
                return intdiv($value, $size) . $name;
            }
        }

        return "{$value}B";
    }

    /** Return an amount of gas, as in 1e10 or 1500; `of` reads it. */
    public static function gasText(int $value): string
    {
        $digits = rtrim((string) $value, '0');
        $zeros = strlen((string) $value) - strlen($digits);

        return $digits !== '' && $zeros >= 4 ? "{$digits}e$zeros" : (string) $value;
    }

    private static function whole(mixed $value, string $name): int
    {
        if (is_float($value) && floor($value) === $value && abs($value) < 2 ** 53) {
            return (int) $value;
        }
        if (!is_int($value)) {
            throw new InvalidArgument("$name: expected a whole number, got " . get_debug_type($value));
        }

        return $value;
    }

    /**
     * Return whole.fraction × 10^exponent × unit, rounded down, and whether nothing was lost; null from 2^53 on.
     *
     * @return array{int, bool}|null
     */
    private static function exact(string $whole, string $fraction, int $exponent, int $unit): ?array
    {
        // The point moves to the right by the exponent; the digits behind it are counted apart, without floats.
        $digits = str_pad($fraction, $exponent, '0');
        $whole = ltrim($whole . substr($digits, 0, $exponent), '0');
        $rest = rtrim(substr($digits, $exponent), '0');
        if (strlen($whole) > 16) {
            return null;
        }
        $found = (int) $whole * $unit;
        if (!is_int($found)) {
            return null;
        }
        // Digit by digit from the right: (carry + digit × unit) ÷ 10, what is lost is noted.
        $carry = 0;
        $isExact = true;
        for ($i = strlen($rest) - 1; $i >= 0; $i--) {
            $sum = $carry + (int) $rest[$i] * $unit;
            $isExact = $isExact && $sum % 10 === 0;
            $carry = intdiv($sum, 10);
        }
        $found += $carry;

        return is_int($found) && $found < 2 ** 53 ? [$found, $isExact] : null;
    }
}
