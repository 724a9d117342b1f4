<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;

/** PHPUnit 9 reads annotations only, and PHPUnit 12 attributes only: the tests have both. */
final class PhpunitVersionsTest extends TestCase
{
    public function testEveryDataProviderIsNamedInBothWays(): void
    {
        $seen = 0;
        foreach (new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(__DIR__)) as $file) {
            if ($file->getExtension() !== 'php' || $file->getPathname() === __FILE__) {
                continue;
            }
            $code = (string) file_get_contents($file->getPathname());
            preg_match_all('/^ +(?:\/\*)?\*\*? @dataProvider (\w+)/m', $code, $annotations);
            preg_match_all("/^ +#\[DataProvider\\('(\w+)'\\)\]/m", $code, $attributes);
            self::assertSame($annotations[1], $attributes[1], $file->getPathname());
            $seen += count($attributes[1]);
        }

        self::assertGreaterThan(50, $seen);
    }
}
