<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\RetryPolicy;
use Plasm\Timeouts;

final class ReadmeTest extends TestCase
{
    /** @dataProvider examples */
    #[DataProvider('examples')]
    public function testEveryExampleIsPhp(string $code): void
    {
        self::assertNotEmpty(token_get_all("<?php\n$code", TOKEN_PARSE));
    }

    /** @return list<array{string}> */
    public static function examples(): array
    {
        preg_match_all('/^```php\n(.*?)^```$/ms', self::readme(), $found);

        return array_map(static fn (string $code): array => [$code], $found[1]);
    }

    public function testEveryClassItNamesExists(): void
    {
        preg_match_all('/\bPlasm\\\\[A-Z][\w\\\\]*/', self::readme(), $found);

        foreach (array_unique($found[0]) as $class) {
            self::assertTrue(class_exists($class) || interface_exists($class), $class);
        }
    }

    public function testTheTableOfErrorsHasThemAll(): void
    {
        foreach (glob(dirname(__DIR__) . '/src/Exception/*.php') ?: [] as $file) {
            self::assertStringContainsString('`' . basename($file, '.php') . '`', str_replace('Plasm\Exception\\', '', self::readme()));
        }
    }

    public function testItsNumbersAreTheDefaults(): void
    {
        $timeouts = new Timeouts();

        self::assertSame([5.0, 30.0, null], [$timeouts->connectS, $timeouts->idleS, $timeouts->totalS]);
        self::assertSame(5, (new RetryPolicy())->attempts);
    }

    private static function readme(): string
    {
        return (string) file_get_contents(dirname(__DIR__) . '/README.md');
    }
}
