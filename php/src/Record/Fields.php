<?php

declare(strict_types=1);

namespace Plasm\Record;

use Plasm\Exception\InvalidRecord;
use Plasm\PeerId;

/**
 * Reads the fields of a JSON object and notes every problem with its path.
 *
 * An invalid field reads as an empty value: call `finish()` before using the values.
 */
final class Fields
{
    /** The greatest integer that every JSON implementation reads alike (RFC 7493, section 2.2). */
    public const MAX_INTEGER = 9_007_199_254_740_991;

    /** How many objects a list may have. */
    public const MAX_ITEMS = 1024;

    private const MAX_COUNTER = '18446744073709551615';

    /** @var array<string, true> */
    private array $read = [];

    private function __construct(
        private readonly \stdClass $object,
        private readonly Problems $problems,
        private readonly string $path,
    ) {
    }

    /** @throws InvalidRecord unless it is strict JSON with an object at its top */
    public static function decode(string $json, string $record, int $maxBytes, ?int $maxValues = null): self
    {
        $value = Json::decode($json, $record, $maxBytes, $maxValues);
        if (!$value instanceof \stdClass) {
            throw new InvalidRecord($record, [['', 'expected an object']]);
        }

        return new self($value, new Problems($record), '');
    }

    /** @throws InvalidRecord if anything was wrong anywhere in the record */
    public function finish(): void
    {
        $this->problems->finish();
    }

    /** Note a problem for each field that was not read. */
    public function refuseOthers(): void
    {
        foreach (array_keys(get_object_vars($this->object)) as $name) {
            if (!isset($this->read[$name])) {
                $this->problem((string) $name, 'unknown field');
            }
        }
    }

    /** Note a problem of a field, or of this object if the name is empty. */
    public function problem(string $name, string $message): void
    {
        $this->problems->add(trim("$this->path.$name", '.'), $message);
    }

    /** Tell whether a field exists and is not null. */
    public function has(string $name): bool
    {
        $this->read[$name] = true;

        return isset($this->object->$name);
    }

    /** Tell whether a field exists, also if it is null. */
    public function isThere(string $name): bool
    {
        $this->read[$name] = true;

        return property_exists($this->object, $name);
    }

    public function object(string $name): self
    {
        $value = $this->value($name);
        if (!$value instanceof \stdClass) {
            $this->expected($name, 'an object', $value);
            $value = new \stdClass();
        }

        return new self($value, $this->problems, trim("$this->path.$name", '.'));
    }

    /** @return list<self> */
    public function objects(string $name): array
    {
        $value = $this->value($name);
        if (!is_array($value)) {
            $this->expected($name, 'a list', $value);

            return [];
        }
        if (count($value) > self::MAX_ITEMS) {
            $this->problem($name, 'expected a list of at most ' . self::MAX_ITEMS . ' items');

            return [];
        }
        $objects = [];
        foreach (array_values($value) as $index => $item) {
            if ($item instanceof \stdClass) {
                $objects[] = new self($item, $this->problems, trim("$this->path.{$name}[$index]", '.'));
            } else {
                $this->expected("{$name}[$index]", 'an object', $item);
            }
        }

        return $objects;
    }

    /**
     * Read the integers that a record consists of; any other field is a problem.
     *
     * @param array<string, array{int, int}> $bounds least and greatest value by name
     *
     * @return list<int> in the order of `$bounds`
     */
    public function integers(array $bounds): array
    {
        $values = [];
        foreach ($bounds as $name => [$minimum, $maximum]) {
            $values[] = $this->integer($name, $minimum, $maximum);
        }
        $this->refuseOthers();

        return $values;
    }

    /** An integer within bounds; 1.0 is one too, as in JSON Schema. */
    public function integer(string $name, int $minimum, int $maximum = self::MAX_INTEGER): int
    {
        $value = $this->value($name);
        if (is_float($value) && floor($value) === $value && abs($value) <= self::MAX_INTEGER) {
            $value = (int) $value;
        }
        if (!is_int($value) || $value < $minimum || $value > $maximum) {
            $above = (is_int($value) || is_float($value)) && $value > $maximum;
            $this->expected($name, $above ? "an integer ≤ $maximum" : "an integer ≥ $minimum", $value);

            return $minimum;
        }

        return $value;
    }

    /**
     * A count of up to 64 bits, which is written as a decimal string and stays one.
     *
     * @return numeric-string
     */
    public function counter(string $name): string
    {
        $value = $this->value($name);
        $fits = is_string($value) && preg_match('/\A(?:0|[1-9][0-9]{0,19})\z/', $value) === 1
            && (strlen($value) < 20 || strcmp($value, self::MAX_COUNTER) <= 0);
        if (!$fits || !is_numeric($value)) {
            $this->expected($name, 'a decimal string', $value);

            return '0';
        }

        return $value;
    }

    public function boolean(string $name): bool
    {
        $value = $this->value($name);
        if (!is_bool($value)) {
            $this->expected($name, 'true or false', $value);
        }

        return $value === true;
    }

    public function digest(string $name): string
    {
        return $this->hex($name, 32);
    }

    /** Bytes of a fixed length in lower-case hexadecimal. */
    public function hex(string $name, int $bytes): string
    {
        $digits = 2 * $bytes;

        return $this->matching($name, "[0-9a-f]{{$digits}}", "$digits lower-case hexadecimal digits");
    }

    /** A string that matches a regular expression as a whole. It is taken as UTF-8. */
    public function matching(string $name, string $pattern, string $expected): string
    {
        $value = $this->value($name);
        if (!is_string($value) || preg_match("/\\A(?:$pattern)\\z/u", $value) !== 1) {
            $this->expected($name, $expected, $value);

            return '';
        }

        return $value;
    }

    /** @param list<string> $names */
    public function oneOf(string $name, array $names): string
    {
        $value = $this->value($name);
        if (!is_string($value) || !in_array($value, $names, true)) {
            $this->expected($name, '"' . implode('" or "', $names) . '"', $value);

            return $names[0];
        }

        return $value;
    }

    /**
     * A list of distinct names out of a few, in any order; returned sorted.
     *
     * @param list<string> $names
     *
     * @return list<string>
     */
    public function namesOf(string $name, array $names): array
    {
        $value = $this->value($name);
        $found = is_array($value) ? array_values(array_filter($value, is_string(...))) : [];
        $distinct = count(array_unique($found)) === count($found);
        if (!is_array($value) || count($found) !== count($value) || !$distinct || array_diff($found, $names) !== []) {
            $this->expected($name, 'a list of distinct names out of ' . implode(', ', $names), $value);

            return [];
        }
        sort($found, SORT_STRING);

        return $found;
    }

    /**
     * A list of strings that match a regular expression as a whole, in their order.
     *
     * @return list<string>
     */
    public function names(string $name, string $pattern): array
    {
        $value = $this->value($name);
        $names = [];
        foreach (is_array($value) ? $value : [Missing::Field] as $item) {
            if (!is_string($item) || preg_match("/\\A(?:$pattern)\\z/", $item) !== 1) {
                $this->expected($name, 'a list of names', $value);

                return [];
            }
            $names[] = $item;
        }

        return $names;
    }

    /**
     * A list of at most `$maximum` strings that a test accepts, in their order.
     *
     * @param \Closure(string): bool $accepts
     *
     * @return list<string>
     */
    public function strings(string $name, int $maximum, \Closure $accepts, string $expected): array
    {
        $value = $this->value($name);
        $items = is_array($value) ? array_values($value) : [Missing::Field];
        $strings = array_values(array_filter($items, is_string(...)));
        if (count($items) > $maximum || count($strings) !== count($items) || array_filter($strings, $accepts) !== $strings) {
            $this->expected($name, "a list of at most $maximum $expected", $value);

            return [];
        }

        return $strings;
    }

    public function peer(string $name): ?PeerId
    {
        $value = $this->value($name);
        try {
            return PeerId::parse(is_string($value) ? $value : '');
        } catch (InvalidRecord) {
            $this->expected($name, 'the PeerId of an Ed25519 key (12D3KooW…)', $value);

            return null;
        }
    }

    /** A moment in UTC, RFC 3339 with `Z`. */
    public function time(string $name): \DateTimeImmutable
    {
        $value = $this->value($name);
        $form = '/\A([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})?Z\z/';
        if (
            is_string($value) && preg_match($form, $value, $part) === 1
            && checkdate((int) $part[2], (int) $part[3], (int) $part[1])
            && $part[4] < '24' && $part[5] < '60' && $part[6] < '60'
        ) {
            return new \DateTimeImmutable($value);
        }
        $this->expected($name, 'an RFC 3339 time that ends in Z', $value);

        return new \DateTimeImmutable('@0');
    }

    private function value(string $name): mixed
    {
        $this->read[$name] = true;

        return property_exists($this->object, $name) ? $this->object->$name : Missing::Field;
    }

    private function expected(string $name, string $expected, mixed $value): void
    {
        $message = $value === Missing::Field
            ? 'required, but missing'
            : "expected $expected, got " . self::shown($value);
        $this->problem($name, $message);
    }

    /** Show a wrong value: short, on one line, in ASCII. */
    private static function shown(mixed $value): string
    {
        $text = match (true) {
            $value instanceof \stdClass => 'an object',
            is_array($value) => 'a list',
            default => (string) json_encode($value, JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR),
        };

        return strlen($text) <= 60 ? $text : substr($text, 0, 57) . '…';
    }
}
