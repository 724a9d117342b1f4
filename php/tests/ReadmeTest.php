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

    public function testEveryRowOfATableBelongsToOne(): void
    {
        // A blank line ends a table: what follows is shown as plain text, unless it is a table's head.
        self::assertSame(0, preg_match('/\n\n\|.*\n(?!\|[-| ]+\|\n)/', self::readme(), $found), $found[0] ?? '');
    }

    public function testTheTestOfAnApplicationPassesAsPasted(): void
    {
        $found = preg_match('/^```php\n([^`]*class ReportTest.*?)^```$/ms', self::readme(), $code);
        self::assertSame(1, $found);
        $directory = sys_get_temp_dir() . '/plasm-readme-' . bin2hex(random_bytes(8));
        mkdir($directory, 0700);
        file_put_contents("$directory/ReportTest.php", "<?php\n$code[1]");

        try {
            $command = [PHP_BINARY, $_SERVER['argv'][0], '--no-configuration', '--bootstrap', dirname(__DIR__) . '/autoload.php'];
            $process = proc_open([...$command, "$directory/ReportTest.php"], [1 => ['pipe', 'w']], $pipes, $directory);
            self::assertIsResource($process);
            $output = (string) stream_get_contents($pipes[1]);
            $status = proc_close($process);
        } finally {
            array_map('unlink', glob("$directory/{,.}*.{php,cache}", GLOB_BRACE) ?: []);
            rmdir($directory);
        }

        self::assertSame(0, $status, $output);
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
