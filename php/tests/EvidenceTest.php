<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Evidence;
use Plasm\PeerId;
use Plasm\Testing\ReceiptSigner;

/** What is kept of false receipts: the newest, so many, each so large at most. */
final class EvidenceTest extends TestCase
{
    private const FILES = 64;
    private const BYTES = 512 << 10;
    private const JOB = 'abababababababababababababababababababababababababababababababab';

    private string $state;
    private string|false $before;
    private PeerId $node;

    protected function setUp(): void
    {
        $this->state = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(6));
        mkdir($this->state, 0700);
        $this->before = getenv('XDG_STATE_HOME');
        putenv("XDG_STATE_HOME=$this->state");
        $this->node = ReceiptSigner::withFreshKey()->peer;
    }

    protected function tearDown(): void
    {
        putenv($this->before === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->before");
        array_map(unlink(...), glob("$this->state/plasm/evidence/*") ?: []);
        foreach (["$this->state/plasm/evidence", "$this->state/plasm", $this->state] as $directory) {
            is_dir($directory) && !is_link($directory) ? rmdir($directory) : @unlink($directory);
        }
    }

    /** @dataProvider sizes */
    #[DataProvider('sizes')]
    public function testEvidenceFillsNoDisk(int $bytes): void
    {
        $paths = [];
        for ($number = 0; $number < self::FILES + 5; $number++) {
            $paths[] = Evidence::keep($this->node, self::JOB, "reason $number", str_repeat('x', $bytes));
        }
        $kept = glob("$this->state/plasm/evidence/*.json") ?: [];
        $newest = end($kept);
        self::assertIsString($newest);
        $said = json_decode((string) file_get_contents($newest), true, 8, JSON_THROW_ON_ERROR);

        self::assertSame(array_slice($paths, 5), $kept);
        self::assertLessThanOrEqual(self::BYTES, max(array_map(filesize(...), $kept)));
        self::assertSame((string) $this->node, $said['node']);
        self::assertSame('reason ' . (self::FILES + 4), $said['reason']);
        self::assertSame($bytes < self::BYTES ? str_repeat('x', $bytes) : null, $said['envelope']);
        self::assertSame($bytes < self::BYTES ? null : $bytes, $said['envelopeBytes'] ?? null);
    }

    /** @return iterable<string, array{int}> */
    public static function sizes(): iterable
    {
        yield 'small' => [10];
        yield 'as large as may be' => [self::BYTES - 1000];
        yield 'too large' => [self::BYTES + 1];
    }

    public function testEvidenceIsForItsOwnerOnly(): void
    {
        $before = umask(0);
        try {
            $path = Evidence::keep($this->node, self::JOB, 'reason', '{}');
        } finally {
            umask($before);
        }

        self::assertIsString($path);
        self::assertSame(0600, fileperms($path) & 0777);
        self::assertSame(0700, fileperms(dirname($path)) & 0777);
    }

    public function testEvidenceThatCannotBeKeptEndsNoJob(): void
    {
        file_put_contents("$this->state/plasm", 'no directory');

        self::assertNull(Evidence::keep($this->node, self::JOB, 'reason', '{}'));
    }

    /** A node's words may be cut in the middle of a character, or be none. */
    public function testAnyReasonAndEnvelopeCanBeKept(): void
    {
        $path = Evidence::keep($this->node, self::JOB, str_repeat('é', 5000) . "\xff", "\xff\0\xfe");

        self::assertIsString($path);
        self::assertIsArray(json_decode((string) file_get_contents($path), true));
    }
}
