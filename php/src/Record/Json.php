<?php

declare(strict_types=1);

namespace Plasm\Record;

use Plasm\Exception\InvalidRecord;

/**
 * Strict JSON: UTF-8, no name twice in one object, bounded. Objects stay objects, so that {} is not [].
 *
 * docs/receipts.md, "Reading", lists what else is refused; Python's reader refuses the same.
 */
final class Json
{
    /** One more than the lists and objects that may be nested. */
    private const MAX_DEPTH = 256;
    private const MAX_NUMBER_CHARACTERS = 1000;
    private const LONG_NUMBER = '/[-+.0-9eE]{1001}/';

    /**
     * @param string $record the expected record, for the error
     * @param int|null $maxValues the commas and opening brackets that it may have outside its strings
     *
     * @throws InvalidRecord
     */
    public static function decode(string $json, string $record, int $maxBytes, ?int $maxValues = null): mixed
    {
        if (strlen($json) > $maxBytes) {
            throw new InvalidRecord($record, [['', strlen($json) . " bytes, more than the $maxBytes allowed"]]);
        }
        if ($maxValues !== null && self::hasMoreValues($json, $maxValues)) {
            throw new InvalidRecord($record, [['', "more than $maxValues values"]]);
        }
        try {
            $value = json_decode($json, false, self::MAX_DEPTH, JSON_THROW_ON_ERROR);
        } catch (\JsonException $exception) {
            throw new InvalidRecord($record, [['', 'not JSON: ' . lcfirst($exception->getMessage())]]);
        }
        $problem = self::problemOf($json);
        if ($problem !== null) {
            throw new InvalidRecord($record, [['', "not JSON: $problem"]]);
        }

        return $value;
    }

    private static function hasMoreValues(string $json, int $maxValues): bool
    {
        $count = static fn (string $text): int
            => substr_count($text, ',') + substr_count($text, '[') + substr_count($text, '{');
        if ($count($json) <= $maxValues) {
            return false;
        }
        $found = 0;
        for ($at = 0, $length = strlen($json); $at < $length;) {
            $gap = strcspn($json, '"', $at);
            $found += $count(substr($json, $at, $gap));
            $at += $gap;
            $at = $at < $length ? self::endOfString($json, $at) : $at;
        }

        return $found > $maxValues;
    }

    /** Encode as Python does: compact, slashes and non-ASCII characters as they are. */
    public static function encode(mixed $value): string
    {
        return json_encode(
            $value,
            JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_LINE_TERMINATORS,
        );
    }

    /** Return the problem of names and numbers in well-formed JSON; null if there is none. */
    private static function problemOf(string $json): ?string
    {
        $names = [];
        $length = strlen($json);
        for ($at = 0;;) {
            $gap = strcspn($json, '"{}', $at);
            if ($gap > self::MAX_NUMBER_CHARACTERS && preg_match(self::LONG_NUMBER, substr($json, $at, $gap)) === 1) {
                return 'a number has more than ' . self::MAX_NUMBER_CHARACTERS . ' characters';
            }
            $at += $gap;
            if ($at >= $length) {
                return null;
            }
            if ($json[$at] === '{') {
                $names[] = [];
                ++$at;
            } elseif ($json[$at] === '}') {
                array_pop($names);
                ++$at;
            } else {
                $end = self::endOfString($json, $at);
                $after = $end + strspn($json, " \t\r\n", $end);
                if ($after < $length && $json[$after] === ':') {
                    $name = json_decode(substr($json, $at, $end - $at));
                    $key = is_string($name) ? "=$name" : '';
                    $depth = array_key_last($names) ?? 0;
                    if (isset($names[$depth][$key])) {
                        return 'a name occurs twice in one object';
                    }
                    if (str_contains($key, "\0")) {
                        return 'a name has a NUL in it';
                    }
                    $names[$depth][$key] = true;
                }
                $at = $end;
            }
        }
    }

    /** Return the offset after the closing quote of the string that begins at `$start`. */
    private static function endOfString(string $json, int $start): int
    {
        for ($at = $start + 1; ; $at += 2) {
            $at += strcspn($json, '"\\', $at);
            if (!isset($json[$at]) || $json[$at] === '"') {
                return $at + 1;
            }
        }
    }
}
