<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\JobFailed;
use Plasm\Files\FileHint;
use Plasm\Files\FileLimits;
use Plasm\Files\JobFiles;
use Plasm\LimitHint;
use Plasm\Limits;
use Plasm\Outcome;
use Plasm\Quantity;
use Plasm\Source\FileSource;
use Plasm\Testing\MockTransport;
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

    /**
     * @param list<string> $readOnly
     * @param list<string> $outputs
     *
     * @dataProvider refusals
     */
    #[DataProvider('refusals')]
    public function testTheHintNamesTheOptionThatAllowsWhatWasRefused(
        array $readOnly,
        array $outputs,
        FileLimits $limits,
        string $output,
        ?string $hint,
    ): void {
        $asked = new JobFiles(str_repeat('0', 64), $readOnly, $outputs, $limits);

        self::assertSame($hint, FileHint::of(Outcome::exited(1), $asked, [], $output));
        self::assertNull(FileHint::of(Outcome::exited(0), $asked, [], $output));
        self::assertNull(FileHint::of(Outcome::outOfGas(), $asked, [], $output));
        self::assertNull(FileHint::of(Outcome::exited(1), null, [], $output));
    }

    /** @return iterable<array{list<string>, list<string>, FileLimits, string, ?string}> */
    public static function refusals(): iterable
    {
        $usual = new FileLimits();
        $writable = 'read-only for the job: an InputDirectory with writable: true lets it change its copy';
        $readOnly = "OSError: [Errno 69] Read-only file system: '/in/new'";
        $full = "write error: No space left on device\n";
        yield [['in'], [], $usual, $readOnly, "in is $writable"];
        yield [['data', 'in'], [], $usual, $readOnly, "in is $writable"];
        yield [['data', 'in'], [], $usual, 'Read-only file system', "data, in are $writable"];
        yield [['.'], [], $usual, $readOnly, "its whole tree is $writable"];
        yield [['in'], ['in/new'], $usual, '', "in is $writable"];
        yield [['in'], ['in-new'], $usual, '', null];
        yield [[], [], $usual, $readOnly, null];
        yield [[], [], $usual, $full, "'file_limits' => new FileLimits(dataBytes: 536870912) (it was 256MiB)"];
        yield [
            [],
            [],
            new FileLimits(0, 10),
            $full,
            "'file_limits' => new FileLimits(dataBytes: 1048576) (it was 0B) or new FileLimits(entries: 20) (it was 10)",
        ];
        yield [[], [], new FileLimits(1 << 32), $full, null];
        yield [
            [],
            [],
            $usual,
            'error opening x: No file descriptors available',
            "'file_limits' => new FileLimits(descriptors: 2048) (it was 1024)",
        ];
        yield [['in'], [], $usual, "KeyError: 'read'", null];
    }

    public function testAJobThatMayNotWriteNamesTheOption(): void
    {
        $stderr = str_repeat('x', 100_000) . "\nopen /in/new: Read-only file system\n";
        mkdir("$this->directory/in");
        $plasm = new Client(MockTransport::answering('', 1, $stderr));
        try {
            $plasm->mustRun("\0asm\1\0\0\0", ['files' => ['in' => new \SplFileInfo("$this->directory/in")]]);
            self::fail('nothing was thrown');
        } catch (JobFailed $failed) {
            self::assertStringStartsWith('in is read-only for the job: ', (string) $failed->hint);
            self::assertStringContainsString('; its stderr begins: xxx', $failed->getMessage());
        }
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
