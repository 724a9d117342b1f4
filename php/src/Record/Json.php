<?php

declare(strict_types=1);

namespace Plasm\Record;

use Plasm\Exception\InvalidRecord;

/** Strict JSON: UTF-8, no name twice in one object, bounded. Objects stay objects, so that {} is not []. */
final class Json
{
    private const MAX_DEPTH = 256;

    /**
     * @param string $record what the bytes are taken for
     *
     * @throws InvalidRecord
     */
    public static function decode(string $json, string $record, int $maxBytes): mixed
    {
        if (strlen($json) > $maxBytes) {
            throw new InvalidRecord($record, [['', strlen($json) . " bytes, more than the $maxBytes allowed"]]);
        }
        try {
            $value = json_decode($json, false, self::MAX_DEPTH, JSON_THROW_ON_ERROR);
        } catch (\JsonException $exception) {
            throw new InvalidRecord($record, [['', 'not JSON: ' . lcfirst($exception->getMessage())]]);
        }
        if (self::hasDuplicateName($json)) {
            throw new InvalidRecord($record, [['', 'not JSON: a name occurs twice in one object']]);
        }

        return $value;
    }

    /** Encode as Python does: compact, slashes and non-ASCII characters as they are. */
    public static function encode(mixed $value): string
    {
        return json_encode(
            $value,
            JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_LINE_TERMINATORS,
        );
    }

    /** Tell whether an object of this JSON, which is known to be well-formed, has a name twice. */
    private static function hasDuplicateName(string $json): bool
    {
        $names = [];
        $length = strlen($json);
        for ($at = strcspn($json, '"{}'); $at < $length; $at += strcspn($json, '"{}', $at)) {
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
                        return true;
                    }
                    $names[$depth][$key] = true;
                }
                $at = $end;
            }
        }

        return false;
    }

    /** Return where the string that begins at `$start` has ended, behind its closing quote. */
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
