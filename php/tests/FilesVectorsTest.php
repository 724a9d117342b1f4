<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidRecord;
use Plasm\Files\FileTree;
use Plasm\Files\Listing;
use Plasm\Files\Pack;
use Plasm\Files\TreeEntry;
use Plasm\Manifest;
use Plasm\Output\Spool;
use Plasm\Source\StringSource;
use Plasm\Transport\Session;

/** Listings, packs and tasks with files, against the bytes that Python is held against. */
final class FilesVectorsTest extends TestCase
{
    /** @dataProvider listings */
    #[DataProvider('listings')]
    public function testAListingIsReadAndWrittenAgain(string $listing, string $sha256): void
    {
        $entries = Listing::parse($listing);

        self::assertSame($sha256, hash('sha256', $listing));
        self::assertSame(bin2hex($listing), bin2hex(Listing::encode(array_reverse($entries))));
    }

    /** @dataProvider refusedListings */
    #[DataProvider('refusedListings')]
    public function testAnInvalidListingIsRefused(string $listing): void
    {
        $this->expectException(InvalidRecord::class);

        Listing::parse($listing);
    }

    /** @dataProvider tasks */
    #[DataProvider('tasks')]
    public function testTasksWithFilesAndEntriesHaveTheseDigests(string $manifest, string $digest): void
    {
        $read = Manifest::fromJson($manifest);
        $written = Manifest::forTask($read->task, $read->wallTimeS, $read->cpu, $read->attempts);

        self::assertSame($digest, $read->taskDigest());
        self::assertSame($digest, $written->taskDigest());
    }

    /** @dataProvider packs */
    #[DataProvider('packs')]
    public function testPacksAreReadFromTheseBytes(string $bytes, string $tree, array $files): void
    {
        $pack = Pack::parse(self::spool($bytes), $tree, 100, 1000);

        $read = [];
        foreach ($pack->entries as $entry) {
            if ($entry->kind === TreeEntry::FILE) {
                $read[$entry->path] = bin2hex($pack->read($pack->offset($entry), $entry->size));
            }
        }
        self::assertEquals($files, $read);
        self::assertSame(bin2hex($bytes), bin2hex($pack->read(0, 1000)));
    }

    /** @dataProvider packs */
    #[DataProvider('packs')]
    public function testTheSameFilesMakeTheSamePack(string $bytes, string $tree, array $files): void
    {
        $pack = FileTree::of(array_map(sodium_hex2bin(...), $files));
        if (str_contains($bytes, "\7\4\0\0\0link")) {
            self::assertNotSame($tree, $pack->tree); // its link is not among the files

            return;
        }

        self::assertSame($tree, $pack->tree);
        self::assertSame(bin2hex($bytes), bin2hex($pack->read(0, $pack->size())));
        self::assertSame(hash('sha256', $bytes), $pack->sha256());
    }

    /** @dataProvider refusedPacks */
    #[DataProvider('refusedPacks')]
    public function testAnInvalidPackOfTheTreeIsRefused(string $bytes): void
    {
        $this->expectException(InvalidRecord::class);

        Pack::parse(self::spool($bytes), Vectors::load('file_transfer')['packs'][1]['tree'], 100, 1000);
    }

    public function testTheProofOfHavingThePack(): void
    {
        $case = Vectors::load('file_transfer')['possession'];
        $pack = new StringSource(sodium_hex2bin($case['pack_hex']));

        self::assertSame($case['proof'], Session::proof(sodium_hex2bin($case['challenge']), $pack));
    }

    /** Whatever a stranger sends, it is a tree with the right digest or an error of ours. */
    public function testDamagedPacksAreAnErrorOfOursAndNothingElse(): void
    {
        ['pack_hex' => $hex, 'tree' => $tree] = Vectors::load('file_transfer')['packs'][1];
        $good = sodium_hex2bin($hex);
        mt_srand(1);
        $refused = 0;
        for ($round = 0; $round < 20_000; ++$round) {
            $bytes = $good;
            for ($flips = mt_rand(1, 4); $flips > 0; --$flips) {
                $at = mt_rand(0, strlen($bytes) - 1);
                $bytes[$at] = chr(mt_rand(0, 3) === 0 ? mt_rand(0, 255) : ord($bytes[$at]) ^ 1 << mt_rand(0, 7));
            }
            $bytes = substr($bytes, 0, mt_rand(0, 5) === 0 ? mt_rand(0, strlen($bytes)) : null);
            $length = max(0, strlen($bytes) - 4);
            $told = strlen($bytes) < 4 ? 0 : min($length, unpack('V', $bytes)[1]);
            foreach ([$tree, hash('sha256', substr($bytes, 4, $told))] as $expected) {
                try {
                    Pack::parse(self::spool($bytes), $expected, 100, 1000);
                    self::assertTrue($expected !== $tree || $bytes === $good);
                } catch (InvalidRecord) {
                    ++$refused;
                }
            }
        }

        self::assertGreaterThan(30_000, $refused);
    }

    /** The end of memory would end a request of a web server without a word. */
    public function testAListingForWhichThereIsNoMemoryIsAnErrorOfOurs(): void
    {
        $code = 'require $argv[1]; $spool = new Plasm\Output\Spool(); $spool->append(pack("V", 20 << 20));'
            . 'for ($n = 0; $n < 20; ++$n) { $spool->append(str_repeat("x", 1 << 20)); }'
            . 'try { Plasm\Files\Pack::parse($spool, str_repeat("0", 64), 65536, 1); }'
            . 'catch (Plasm\Exception\InvalidRecord $exception) { echo $exception->getMessage(); }';
        $command = [PHP_BINARY, '-d', 'memory_limit=32M', '-r', $code, '--', dirname(__DIR__) . '/autoload.php'];

        exec(implode(' ', array_map(escapeshellarg(...), $command)), $lines, $status);

        self::assertSame([0, 1], [$status, count($lines)]);
        self::assertStringContainsString('for which memory_limit leaves no room', $lines[0]);
    }

    /** @return iterable<string, array{string, string}> */
    public static function listings(): iterable
    {
        foreach (Vectors::load('files')['listings'] as $case) {
            yield $case['name'] => [sodium_hex2bin($case['listing_hex']), $case['sha256']];
        }
    }

    /** @return iterable<string, array{string}> */
    public static function refusedListings(): iterable
    {
        foreach (Vectors::load('files')['refused_listings'] as $case) {
            yield $case['name'] => [sodium_hex2bin($case['listing_hex'])];
        }
    }

    /** @return iterable<string, array{string, string}> */
    public static function tasks(): iterable
    {
        foreach ([...Vectors::load('files')['tasks'], ...Vectors::load('files')['entry_tasks']] as $index => $case) {
            yield "$index {$case['name']}" => [json_encode($case['manifest'], JSON_THROW_ON_ERROR), $case['task_digest']];
        }
    }

    /** @return iterable<string, array{string, string, array<string, string>}> */
    public static function packs(): iterable
    {
        foreach (Vectors::load('file_transfer')['packs'] as $case) {
            yield $case['name'] => [sodium_hex2bin($case['pack_hex']), $case['tree'], $case['files']];
        }
    }

    /** @return iterable<string, array{string}> */
    public static function refusedPacks(): iterable
    {
        foreach (Vectors::load('file_transfer')['refused_packs'] as $case) {
            yield $case['why'] => [sodium_hex2bin($case['pack_hex'])];
        }
    }

    private static function spool(string $bytes): Spool
    {
        $spool = new Spool();
        $spool->append($bytes);

        return $spool;
    }
}
