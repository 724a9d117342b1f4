<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;

/** The numbers of tests/vectors/client_constants.json, which Python's client keeps too, are this client's. */
final class ConstantsTest extends TestCase
{
    /** @dataProvider constants */
    #[DataProvider('constants')]
    public function testAConstantOfAllClientsHasItsValueHere(string $constant, int|float $value): void
    {
        [$class, $name] = explode('::', $constant);

        self::assertEquals($value, (new \ReflectionClass($class))->getConstant($name));
    }

    /** @return iterable<string, array{string, int|float}> */
    public static function constants(): iterable
    {
        foreach (Vectors::load('client_constants')['constants'] as $constant) {
            yield $constant['name'] => [$constant['php'], $constant['value']];
        }
    }
}
