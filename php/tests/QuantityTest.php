<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidArgument;
use Plasm\Quantity;
use Plasm\Submission;

final class QuantityTest extends TestCase
{
    /** @dataProvider texts */
    #[DataProvider('texts')]
    public function testTextsAreReadAsByTheCommandLine(string $kind, string $text, ?int $value): void
    {
        $read = $kind === 'numbers' ? Quantity::of(...) : Quantity::seconds(...);
        if ($value === null) {
            $this->expectException(InvalidArgument::class);
        }

        self::assertSame($value, $read($text, 'it'));
    }

    /** @return iterable<string, array{string, string, int|null}> */
    public static function texts(): iterable
    {
        foreach (Vectors::load('quantities') as $kind => $cases) {
            foreach ($cases as $case) {
                yield "$kind \"$case[text]\"" => [$kind, $case['text'], $case['value']];
            }
        }
    }

    public function testAnErrorNamesTheUnitsOfADuration(): void
    {
        $this->expectExceptionMessage('it: expected whole seconds, minutes or hours, such as "30s", "5min" or "2h", got "10ms"');

        Quantity::seconds('10ms', 'it');
    }

    public function testEveryOptionTakesThem(): void
    {
        $options = ['gas' => '1e9', 'memory' => '64MiB', 'output' => '1k', 'wall_time' => '5min', 'cpu' => '2'];
        $manifest = Submission::create("\0asm\1\0\0\0", $options)->manifest;

        self::assertSame([1_000_000_000, 64 << 20, 1000], array_values($manifest->task->limits->toArray()));
        self::assertSame([300, 2], [$manifest->wallTimeS, $manifest->cpu]);
    }

    /** @dataProvider others */
    #[DataProvider('others')]
    public function testAnInvalidNumberIsRefused(mixed $value): void
    {
        $this->expectException(InvalidArgument::class);

        Quantity::of($value, 'it');
    }

    /** @return iterable<array{mixed}> */
    public static function others(): iterable
    {
        foreach ([1.5, 1e300, NAN, INF, null, true, [], '99999999999999999999', '9007199254740992', '8192TiB'] as $value) {
            yield [$value];
        }
    }
}
