<?php

declare(strict_types=1);

namespace Plasm\Tests;

/** The vectors that pytest and PHPUnit share. */
final class Vectors
{
    /** @return array<string, mixed> */
    public static function load(string $name): array
    {
        $text = file_get_contents(dirname(__DIR__, 2) . "/tests/vectors/$name.json");
        assert($text !== false);
        $value = json_decode($text, true, flags: JSON_THROW_ON_ERROR);
        assert(is_array($value));

        return $value;
    }

    /**
     * Return a list of `identities.json` as PHPUnit takes data.
     *
     * @return array<string, array{array<string, mixed>}>
     */
    public static function cases(string $key): array
    {
        $cases = [];
        foreach (self::load('identities')[$key] as $index => $case) {
            $cases[$case['name'] ?? "number $index"] = [$case];
        }

        return $cases;
    }
}
