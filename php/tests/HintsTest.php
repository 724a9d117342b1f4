<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidArgument;
use Plasm\LimitHint;
use Plasm\Limits;
use Plasm\Outcome;
use Plasm\Quantity;
use Plasm\Source\FileSource;
use Plasm\Tests\Support\Directory;

/** The hints for a limit that a job reached, and for a path that leads nowhere: as the commands of Python give them. */
final class HintsTest extends TestCase
{
    private string $directory;

    protected function setUp(): void
    {
        $this->directory = Directory::make();
    }

    protected function tearDown(): void
    {
        Directory::remove($this->directory);
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testTheOptionIsNamedWithAValue(Outcome $outcome, Limits $limits, int $peak, ?string $hint): void
    {
        self::assertSame($hint, LimitHint::of($outcome, $limits, (string) $peak));
    }

    /** @return iterable<array{Outcome, Limits, int, ?string}> */
    public static function ends(): iterable
    {
        $mib = 1 << 20;
        $timedOut = static fn (string $detail): Outcome => Outcome::timedOut($detail);
        yield [Outcome::outOfGas(), new Limits(gas: 10 ** 10), 0, "'gas' => '2e10' (it was 1e10)"];
        yield [Outcome::outOfGas(), new Limits(gas: 1234), 0, "'gas' => '2468' (it was 1234)"];
        yield [Outcome::outOfGas(), new Limits(gas: 2 ** 53 - 1), 0, null];
        yield [$timedOut('after 60 s of wall time'), new Limits(), 0, "'wall_time' => '120s' (it was 60s)"];
        yield [$timedOut('after 86400 s of wall time'), new Limits(), 0, null];
        yield [$timedOut('of processor time'), new Limits(), 0, null];
        yield [
            Outcome::exited(1),
            new Limits(memoryBytes: 256 * $mib),
            200 * $mib,
            "if it lacked memory: 'memory' => '512MiB' (it was 256MiB)",
        ];
        yield [
            Outcome::trapped('unreachable'),
            new Limits(memoryBytes: 3072 * $mib),
            3072 * $mib,
            "if it lacked memory: 'memory' => '4GiB' (it was 3GiB)",
        ];
        yield [Outcome::exited(1), new Limits(memoryBytes: 256 * $mib), 20 * $mib, null];
        yield [Outcome::exited(0), new Limits(memoryBytes: $mib), $mib, null];
        yield [Outcome::cancelled(), new Limits(), 0, null];
    }

    public function testWhatIsShownCanBeGiven(): void
    {
        foreach ([0, 1, 999, 1000, 1024, 65_536, 10 ** 10, 256 << 20, 3 << 30, 2 ** 53 - 1] as $value) {
            self::assertSame($value, Quantity::of(Quantity::bytesText($value), 'x'));
            self::assertSame($value, Quantity::of(Quantity::gasText($value), 'x'));
        }
    }

    public function testAPathThatLeadsNowhereGetsAHint(): void
    {
        $at = $this->directory;
        file_put_contents("$at/convert.wasm", 'x');
        symlink('/nowhere/else', "$at/link");
        $expected = [
            "$at/covert.wasm" => "did you mean $at/convert.wasm?",
            "$at/zzz" => "the directory $at has no zzz",
            "$at/link" => 'it is a symbolic link to /nowhere/else, which leads nowhere',
            "$at/convert.wasm/x" => "$at/convert.wasm is a file, not a directory",
            "$at/none/x" => "there is no directory $at/none, or you may not list it",
        ];

        foreach ($expected as $path => $hint) {
            try {
                FileSource::open($path);
                self::fail('it was opened');
            } catch (InvalidArgument $exception) {
                self::assertSame($hint, $exception->hint);
                self::assertSame("cannot read $path: there is no such file ($hint)", $exception->getMessage());
            }
        }
    }

    public function testAPathIsLookedForWhereTheProgramRuns(): void
    {
        $before = (string) getcwd();
        file_put_contents("{$this->directory}/in.txt", 'x');
        chdir($this->directory);
        try {
            FileSource::open('inn.txt');
            self::fail('it was opened');
        } catch (InvalidArgument $exception) {
            self::assertSame('did you mean in.txt?', $exception->hint);
        } finally {
            chdir($before);
        }
    }

    public function testAFileThatCannotBeOpenedSaysWhy(): void
    {
        file_put_contents("{$this->directory}/closed", 'x');
        chmod("{$this->directory}/closed", 0);
        if (@file_get_contents("{$this->directory}/closed") !== false) {
            self::markTestSkipped('root may read any file');
        }
        $this->expectExceptionMessage('closed: Permission denied');

        FileSource::open("{$this->directory}/closed");
    }
}
