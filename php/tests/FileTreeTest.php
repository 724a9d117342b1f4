<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Files\FileLimits;
use Plasm\Files\InputDirectory;
use Plasm\Files\Listing;
use Plasm\Files\Pack;
use Plasm\Files\PackedFiles;
use Plasm\Files\TreeEntry;
use Plasm\Manifest;
use Plasm\Submission;
use Plasm\Tests\Support\Directory;

/** The input tree of a job, made of files of this machine. */
final class FileTreeTest extends TestCase
{
    private string $directory;

    protected function setUp(): void
    {
        $this->directory = Directory::make();
        mkdir("$this->directory/in/sub", recursive: true);
        file_put_contents("$this->directory/in/data", 'some');
        file_put_contents("$this->directory/in/sub/same", 'some');
    }

    protected function tearDown(): void
    {
        Directory::remove($this->directory);
    }

    public function testFilesComeFromStringsStreamsFilesAndDirectories(): void
    {
        $stream = fopen('php://memory', 'w+b');
        fwrite($stream, 'streamed');
        $packed = PackedFiles::of([
            'a/config.json' => '{}',
            '/in' => new \SplFileInfo("$this->directory/in"),
            'copy' => new \SplFileInfo("$this->directory/in/data"),
            7 => $stream,
            'rw' => new InputDirectory("$this->directory/in/sub", writable: true),
        ], ['out/', 'z/table.csv']);

        self::assertSame([
            '7' => 'streamed',
            'a' => null,
            'a/config.json' => '{}',
            'copy' => 'some',
            'in' => null,
            'in/data' => 'some',
            'in/sub' => null,
            'in/sub/same' => 'some',
            'out' => null,
            'rw' => null,
            'rw/same' => 'some',
            'tmp' => null,
            'z' => null,
        ], self::contents($packed->pack));
        self::assertSame(['in'], $packed->asked->readOnly);
        self::assertSame(['out', 'z/table.csv'], $packed->asked->outputs);
        self::assertSame(strlen('some') * 3 + strlen('{}streamed'), $packed->pack->fileBytes() - strlen('some'));
    }

    public function testTheOrderOfTheFilesAndTheirPlaceDoNotMatter(): void
    {
        $files = ['b' => 'two', 'a/x' => 'one', 'a-b' => 'one'];

        self::assertSame(PackedFiles::of($files)->pack->tree, PackedFiles::of(array_reverse($files))->pack->tree);
    }

    public function testAFileThatChangesLaterIsTheOneThatWasRead(): void
    {
        $pack = PackedFiles::of(['in' => new \SplFileInfo("$this->directory/in")])->pack;
        file_put_contents("$this->directory/in/data", 'else');

        self::assertSame('some', self::contents($pack)['in/data']);
    }

    public function testTheRootOfTheTreeMayBeADirectory(): void
    {
        $packed = PackedFiles::of(['/' => new \SplFileInfo("$this->directory/in")], ['/']);

        self::assertSame([['.'], ['.']], [$packed->asked->readOnly, $packed->asked->outputs]);
        self::assertSame(['data' => 'some', 'sub' => null, 'sub/same' => 'some', 'tmp' => null], self::contents($packed->pack));
    }

    public function testALinkIsRefusedByItsNameOrFollowed(): void
    {
        symlink("$this->directory/in/data", "$this->directory/in/link");
        $followed = PackedFiles::of(['in' => new InputDirectory("$this->directory/in", followLinks: true)]);
        self::assertSame('some', self::contents($followed->pack)['in/link']);
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage("$this->directory/in/link is a symbolic link");

        PackedFiles::of(['in' => new InputDirectory("$this->directory/in")]);
    }

    public function testALinkToADirectoryAboveIsNotFollowedForEver(): void
    {
        symlink('..', "$this->directory/in/sub/up");
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('is a link to a directory that it lies in');

        PackedFiles::of(['in' => new InputDirectory("$this->directory/in", followLinks: true)]);
    }

    public function testAPipeIsNotWaitedFor(): void
    {
        posix_mkfifo("$this->directory/in/pipe", 0600);
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('it is no regular file');

        PackedFiles::of(['in' => new InputDirectory("$this->directory/in")]);
    }

    /**
     * @dataProvider wrong
     *
     * @param array<string, mixed> $options
     */
    #[DataProvider('wrong')]
    public function testFilesThatMakeNoTreeAreNamed(array $options, string $message): void
    {
        try {
            Submission::create("\0asm", $options);
            self::fail('it was accepted');
        } catch (InvalidArgument | InvalidRecord $exception) {
            self::assertStringContainsString($message, $exception->getMessage());
        }
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function wrong(): array
    {
        return [
            'a path that leads out' => [['files' => ['a/../../b' => '']], 'has an empty name, . or ..'],
            'a long name' => [['files' => [str_repeat('n', 256) => '']], 'has more than 255 bytes'],
            'a long path' => [['files' => [str_repeat('n/', 512) . 'n' => '']], 'more than 1024'],
            'NUL' => [['files' => ["a\0b" => '']], 'contains NUL'],
            'not UTF-8' => [['files' => ["a\xff" => '']], 'is not UTF-8'],
            'no file' => [['files' => ['a' => new \SplFileInfo('/nowhere/a')]], 'there is no such file'],
            'a device' => [['files' => ['a' => new \SplFileInfo('/dev/null')]], 'it is no regular file'],
            'a file and a directory' => [['files' => ['a' => '', 'a/b' => '']], "'a' is a file and a directory"],
            'twice' => [['files' => ['a' => '', '/a' => '']], "'a' is named twice"],
            'a number' => [['files' => ['a' => 1]], "for 'a', got int"],
            'no list' => [['files' => 'a'], 'files: expected an array'],
            'an output in another' => [['outputs' => ['a', 'a/b']], "'a/b' lies in another output"],
            'all and more' => [['outputs' => ['/', 'a']], 'lies in another output'],
            'an output twice' => [['outputs' => ['a', 'a/']], 'a path occurs twice'],
            'too many outputs' => [['outputs' => array_map(strval(...), range(1, 65))], 'a list of at most 64'],
            'outputs with line ends' => [['outputs' => ["a\n"]], 'a list of at most 64'],
            'limits' => [['file_limits' => 3], 'expected a Plasm\Files\FileLimits'],
            'the other profile' => [['files' => ['a' => ''], 'profile' => 'plasm.det/v1'], 'go with the profile plasm.det/v2'],
            'no entry' => [['entry' => '_start'], 'entry: expected the name of an export'],
        ];
    }

    public function testLimitsThatNoManifestAsksForAreRefused(): void
    {
        $this->expectException(InvalidRecord::class);
        $this->expectExceptionMessage('descriptors: expected an integer from 4 to 4096, got 3');

        new FileLimits(descriptors: 3);
    }

    public function testFilesTheEntryAndTheProfileAreInTheManifest(): void
    {
        $with = Submission::create("\0asm", ['files' => ['a' => 'b'], 'entry' => 'main'])->manifest;
        $plain = Submission::create("\0asm")->manifest;

        self::assertSame(Manifest::PROFILE_V2, $with->task->profile);
        self::assertSame(['main', Listing::MAX_ENTRIES], [$with->task->entry, $with->task->files?->limits->entries]);
        self::assertSame($with->taskDigest(), Manifest::fromJson($with->json)->taskDigest());
        self::assertSame(Manifest::PROFILE, $plain->task->profile);
        self::assertStringNotContainsString('files', $plain->json);
        self::assertSame(Manifest::PROFILE_V2, Submission::create("\0asm", ['profile' => 'plasm.det/v2'])->manifest->task->profile);
    }

    public function testWithAManifestTheFilesMustMatchIt(): void
    {
        $job = Submission::create("\0asm", ['files' => ['a' => 'b'], 'outputs' => ['out/']]);
        $same = Submission::ofManifest($job->manifest, "\0asm", ['files' => ['a' => 'b'], 'outputs' => ['out/']]);
        self::assertSame($job->id(), $same->id());
        self::assertSame($job->files?->tree, $same->files?->tree);
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('files: they are not what the manifest names');

        Submission::ofManifest($job->manifest, "\0asm", ['files' => ['a' => 'c'], 'outputs' => ['out/']]);
    }

    /** @return array<string, string|null> bytes by path, null for a directory */
    private static function contents(Pack $pack): array
    {
        $found = [];
        foreach ($pack->entries as $entry) {
            $isFile = $entry->kind === TreeEntry::FILE;
            $found[$entry->path] = $isFile ? $pack->read($pack->offset($entry), $entry->size) : null;
        }

        return $found;
    }
}
