<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\InvalidArgument;
use Plasm\Files\ResultFiles;
use Plasm\Outcome;
use Plasm\Submission;
use Plasm\Testing\MockAnswer;
use Plasm\Testing\MockTransport;
use Plasm\Tests\Support\Directory;

/** What a job left, read and written to this machine. */
final class ResultFilesTest extends TestCase
{
    private const LEFT = [
        'out' => ['plots/a.png' => 'picture', 'table.csv' => "1,2\n", '7' => 'number', 'empty' => ''],
        'log' => 'said',
    ];

    private string $directory;
    private string $evidence;
    private string|false $state;

    protected function setUp(): void
    {
        $this->directory = Directory::make();
        $this->evidence = Directory::make();
        $this->state = getenv('XDG_STATE_HOME');
        putenv("XDG_STATE_HOME=$this->evidence");
    }

    protected function tearDown(): void
    {
        putenv($this->state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->state");
        Directory::remove($this->evidence);
        Directory::remove($this->directory);
    }

    public function testFilesAreReadByTheirPaths(): void
    {
        $files = self::files();

        self::assertSame("1,2\n", $files['out/table.csv']->contents());
        self::assertSame('said', (string) $files['/log']);
        self::assertSame(hash('sha256', 'picture'), $files['out/plots/a.png']->sha256);
        self::assertSame(['pic', 'tur', 'e'], [...$files['out/plots/a.png']->chunks(3)]);
        self::assertSame([5, 0], [count($files), $files['out/empty']->sizeBytes]);
        self::assertSame([true, false, false], [isset($files['log']), isset($files['out']), isset($files['out/none'])]);
        $paths = [];
        foreach ($files as $path => $file) {
            $paths[] = $path;
            self::assertSame($path, $file->path);
        }
        self::assertSame(['log', 'out/7', 'out/empty', 'out/plots/a.png', 'out/table.csv'], $paths);
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage("the job left no file 'out/none'");

        $files['out/none'];
    }

    public function testAllOutputsAreWrittenUnderTheirPaths(): void
    {
        self::files()->saveAll("$this->directory/results");

        self::assertSame([
            'results' => null,
            'results/log' => 'said',
            'results/out' => null,
            'results/out/7' => 'number',
            'results/out/empty' => '',
            'results/out/plots' => null,
            'results/out/plots/a.png' => 'picture',
            'results/out/table.csv' => "1,2\n",
        ], Directory::contents($this->directory));
    }

    public function testOneOutputIsWrittenWhereTheCallerSays(): void
    {
        mkdir("$this->directory/empty");
        self::files()->save('out', "$this->directory/empty/");
        self::files()->save('/log', "$this->directory/log.txt");
        self::files()['out/table.csv']->save("$this->directory/log.txt");

        self::assertSame("1,2\n", file_get_contents("$this->directory/log.txt"));
        self::assertSame('picture', file_get_contents("$this->directory/empty/plots/a.png"));
        self::assertSame(['.', '..', 'empty', 'log.txt'], scandir($this->directory));
    }

    public function testTheRootOfTheTreeIsAnOutputToo(): void
    {
        self::files(['.' => ['a/b' => 'c', 'd' => 'e']])->saveAll("$this->directory/all");

        self::assertSame('c', self::files(['.' => ['a/b' => 'c']])['a/b']->contents());
        self::assertSame(['all' => null, 'all/a' => null, 'all/a/b' => 'c', 'all/d' => 'e'], Directory::contents($this->directory));
    }

    public function testTwoOutputsOfOneDirectoryShareIt(): void
    {
        self::files(['a/b/one' => '1', 'a/b/two' => '2'])->saveAll("$this->directory/all");

        self::assertSame('2', file_get_contents("$this->directory/all/a/b/two"));
    }

    public function testADirectoryWithFilesAndAFileInItsPlaceAreNotChanged(): void
    {
        mkdir("$this->directory/full");
        file_put_contents("$this->directory/full/mine", 'mine');
        $before = Directory::contents($this->directory);

        $this->assertRefused(fn () => self::files()->save('out', "$this->directory/full"), 'not empty');
        $this->assertRefused(fn () => self::files()->saveAll("$this->directory/full"), 'not empty');
        $this->assertRefused(fn () => self::files()->saveAll("$this->directory/full/mine"), 'it is a file');
        $this->assertRefused(fn () => self::files()->save('log', "$this->directory/full"), 'it is a directory');
        $this->assertRefused(fn () => self::files()->save('log', "$this->directory/none/log"), 'there is no directory');
        $this->assertRefused(fn () => self::files()->save('none', "$this->directory/x"), "left no output 'none'");
        $this->assertRefused(fn () => self::files()->save('log', 'php://memory'), 'expected the path');
        $this->assertRefused(fn () => self::files()->save('log', "$this->directory/a\0b"), 'expected the path');
        $this->assertRefused(fn () => self::files()->save('log', '/dev/null'), 'no regular file');
        self::assertSame($before, Directory::contents($this->directory));
    }

    public function testALinkThatDanglesIsNotWrittenThrough(): void
    {
        symlink("$this->directory/elsewhere", "$this->directory/link");

        $this->assertRefused(fn () => self::files()->save('log', "$this->directory/link"), 'there is no directory');
        $this->assertRefused(fn () => self::files()->saveAll("$this->directory/link"), 'there is no directory');
        self::assertSame(['link' => '→'], Directory::contents($this->directory));
    }

    public function testAFileThatIsReplacedKeepsItsModeAndItsLink(): void
    {
        file_put_contents("$this->directory/secret", 'old');
        chmod("$this->directory/secret", 0600);
        symlink('secret', "$this->directory/link");
        self::files()->save('log', "$this->directory/link");
        clearstatcache();

        self::assertSame('said', file_get_contents("$this->directory/secret"));
        self::assertSame(0600, fileperms("$this->directory/secret") & 0777);
        self::assertTrue(is_link("$this->directory/link"));
    }

    public function testAnInterruptedWriteLeavesNoFile(): void
    {
        $long = str_repeat('d', 200);
        $deep = implode('/', array_fill(0, 5, $long)); // 1,004 bytes, which fit into a listing
        $place = $this->directory . str_repeat('/' . str_repeat('p', 240), 16);
        mkdir($place, recursive: true);

        $this->assertRefused(
            fn () => self::files(['out' => ['first' => 'x', "$deep/last" => 'y']])->save('out', "$place/results"),
            'File name too long',
        );
        self::assertSame([], Directory::contents($place));
    }

    public function testNamesThatAJobChoseAreOnlyNames(): void
    {
        $names = ["\u{202e}gnp.exe", 'CON', 'a:b', '-rf', '~', '$(id)', "new\nline", '.plasm-x.new', 'C:\\x', 'phar:', 'a\\..\\b'];
        $files = self::files(['out' => array_fill_keys($names, 'x')]);
        $files->save('out', "$this->directory/results");

        self::assertEqualsCanonicalizing($names, array_diff(scandir("$this->directory/results"), ['.', '..']));
    }

    public function testOtherFilesThanWereSignedAreNotGiven(): void
    {
        $answer = MockAnswer::exited()->withFiles(['log' => 'said'])->withForgedFiles(['log' => 'lied']);
        $this->expectException(FilesNotServed::class);
        $this->expectExceptionMessage("'log' is not the file that the receipt states");

        (new Client(new MockTransport(static fn (Submission $job) => $answer)))->run("\0asm", ['outputs' => ['log']]);
    }

    public function testAJobThatLeftNothingHasNoFiles(): void
    {
        $plasm = new Client(new MockTransport(static fn (Submission $job) => MockAnswer::ended(Outcome::outOfGas())));

        self::assertCount(0, $plasm->run("\0asm", ['outputs' => ['log']])->files);
        self::assertCount(0, $plasm->run("\0asm")->files);
    }

    public function testTheFilesOfAMapAreReadOnceAndThoseOfAnInputAreAdded(): void
    {
        $node = new MockTransport(static fn (Submission $job) => MockAnswer::exited());
        $options = ['files' => ['common' => 'c', 'changed' => 'old'], 'outputs' => ['out/']];
        $inputs = ['one', 'two', ['files' => ['own' => 'o', 'changed' => 'new']]];
        iterator_to_array((new Client($node))->map("\0asm", $inputs, $options, inFlight: 1));
        [$first, $second, $third] = $node->jobs();

        self::assertSame($first->files, $second->files);
        $own = Submission::create("\0asm", ['files' => ['own' => 'o', 'changed' => 'new', 'common' => 'c'], 'outputs' => ['out/']]);
        self::assertSame($own->files?->tree, $third->files?->tree);
    }

    private function assertRefused(\Closure $call, string $message): void
    {
        try {
            $call();
            self::fail('it was written');
        } catch (InvalidArgument $exception) {
            self::assertStringContainsString($message, $exception->getMessage());
        }
    }

    /** @param array<string, string|array<string, string>> $left */
    private static function files(array $left = self::LEFT): ResultFiles
    {
        $answer = MockAnswer::exited()->withFiles($left);
        $plasm = new Client(new MockTransport(static fn (Submission $job) => $answer));

        return $plasm->run("\0asm", ['outputs' => array_map(strval(...), array_keys($left))])->files;
    }
}
