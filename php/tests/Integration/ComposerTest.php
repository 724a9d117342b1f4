<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\TestCase;

/** The recipe of the README, pasted in a clone of this package as it is now. */
final class ComposerTest extends TestCase
{
    private const DEADLINE_S = 120;

    private string $directory;

    protected function setUp(): void
    {
        foreach (['composer', 'git', 'bash', 'timeout'] as $program) {
            if (trim((string) shell_exec("command -v $program")) === '') {
                self::markTestSkipped("$program is not installed here");
            }
        }
        $this->directory = sys_get_temp_dir() . '/plasm-composer-' . bin2hex(random_bytes(6));
        $clone = "$this->directory/clone";
        mkdir("$clone/php", 0700, true);
        $root = dirname(__DIR__, 3);
        $this->shell('cp "$1/composer.json" . && cp -r "$1/php/src" "$1/php/autoload.php" php/ && git init -q -b main . &&'
            . ' git add . && git -c user.name=a -c user.email=a@b.invalid commit -q -m a', $clone, $root);
    }

    protected function tearDown(): void
    {
        if (isset($this->directory)) {
            exec('rm -rf ' . escapeshellarg($this->directory));
        }
    }

    public function testBothRecipesWorkAsTheyArePasted(): void
    {
        preg_match('/^## With Composer\n(.*?)^## /ms', (string) file_get_contents(dirname(__DIR__, 2) . '/README.md'), $section);
        preg_match_all('/^```sh\n(.*?)^```$/ms', $section[1], $blocks);

        // Nothing but the clone is to be asked: the test needs no network.
        $said = $this->shell(
            'composer config --global repo.packagist false && ' . implode("echo --\n", $blocks[1]),
            "$this->directory/clone",
        );

        self::assertCount(2, $blocks[1]);
        self::assertSame(2, substr_count($said, "Plasm\\Client\n"), $said);
        self::assertFileExists("$this->directory/report/vendor/plasm/client/php/src/Client.php");
        self::assertDirectoryExists("$this->directory/other/vendor/plasm/client/.git", 'the second is a copy');
    }

    public function testTheTestsAreRunByTheirUsualName(): void
    {
        $said = $this->shell('composer run-script --list', dirname(__DIR__, 3));

        self::assertMatchesRegularExpression('/^ +test +Run the tests/m', $said);
    }

    private function shell(string $script, string $directory, string ...$arguments): string
    {
        $home = "$this->directory/home";
        $output = "$this->directory/said";
        $process = proc_open(
            ['timeout', '-k', '5', (string) self::DEADLINE_S, 'bash', '-e', '-c', $script, 'bash', ...$arguments],
            [['file', '/dev/null', 'r'], ['file', $output, 'w'], ['file', $output, 'a']],
            $pipes,
            $directory,
            ['HOME' => $home, 'COMPOSER_HOME' => $home, 'COMPOSER_ALLOW_SUPERUSER' => '1', 'PATH' => (string) getenv('PATH')],
        );
        self::assertIsResource($process);
        $status = proc_close($process);
        $said = (string) file_get_contents($output);
        self::assertSame(0, $status, $said);

        return $said;
    }
}
