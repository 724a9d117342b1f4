<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Bounds;
use Plasm\Client;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\MalformedReceipt;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Files\FetchLimits;
use Plasm\Files\Fetching;
use Plasm\Files\FileLimits;
use Plasm\Files\FileTree;
use Plasm\Files\Listing;
use Plasm\Files\Product;
use Plasm\Files\TreeEntry;
use Plasm\Outcome;
use Plasm\Protocol\Frame;
use Plasm\RetryPolicy;
use Plasm\Testing\MockFiles;
use Plasm\Tests\Support\Directory;
use Plasm\Tests\Support\FakeClock;
use Plasm\Tests\Support\FakeConversation;
use Plasm\Tests\Support\FakeNode;
use Plasm\Timeouts;

/** Jobs with files at a node that speaks the protocol frame by frame, and lies as it is told. */
final class JobFilesTest extends TestCase
{
    private const MODULE = "\0asm\1\0\0\0";
    private const OPTIONS = ['files' => ['in/data' => 'some'], 'outputs' => ['out/', 'log']];

    private FakeNode $node;
    private string $directory;
    private string|false $state;

    protected function setUp(): void
    {
        $this->directory = Directory::make();
        $this->state = getenv('XDG_STATE_HOME'); // where evidence is kept
        putenv("XDG_STATE_HOME=$this->directory");
        $this->node = new FakeNode();
        $this->node->files = new MockFiles(['log' => 'said', 'out' => ['a' => 'one', 'b' => 'two']]);
    }

    protected function tearDown(): void
    {
        putenv($this->state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->state");
        Directory::remove($this->directory);
    }

    public function testFilesGoThereAndComeBack(): void
    {
        $bytes = random_bytes(3_000_000);
        $this->node->files = new MockFiles(['out' => ['copy' => $bytes], 'log' => '']);

        $result = $this->plasm()->run(self::MODULE, ['files' => ['in/data' => $bytes], 'outputs' => ['out/', 'log']]);

        [$job] = array_values($this->node->jobs);
        self::assertStringEndsWith($bytes, $job->uploads[7]);
        self::assertSame(hash('sha256', $bytes), hash('sha256', $result->files['out/copy']->contents()));
        self::assertSame('', $result->files['log']->contents());
        self::assertContains('task', $result->verdict->established);
    }

    public function testANodeThatDoesNotTakeFilesIsNotSentAny(): void
    {
        foreach ([null, [], ['other']] as $features) {
            $this->node->features = $features;
            try {
                $this->plasm()->run(self::MODULE, self::OPTIONS);
                self::fail('it was sent');
            } catch (Refused $refused) {
                self::assertSame('files_unsupported', $refused->reason);
            }
        }
        self::assertSame([], $this->node->heardTypes());
    }

    public function testATreeThatTheNodeHasFromAnEarlierJobIsProvedAndNotSent(): void
    {
        $plasm = $this->plasm();
        $options = ['files' => ['in/data' => random_bytes(300_000)], 'outputs' => ['out/', 'log']];
        $plasm->run(self::MODULE, $options);
        [$first] = array_values($this->node->jobs);
        self::assertNotContains('possession', $this->node->heardTypes());
        $this->node->packs = [$first->uploads[7]];

        $plasm->run(self::MODULE, $options);

        self::assertSame(1, count(array_keys($this->node->heardTypes(), 'possession', true)));
        self::assertSame('files', $this->heard('possession')['channel']);
    }

    public function testATreeThatTheNodeHasThrownOutIsSentAgain(): void
    {
        $plasm = $this->plasm();
        $options = ['files' => ['in/data' => random_bytes(300_000)], 'outputs' => ['out/', 'log']];
        $plasm->run(self::MODULE, $options);
        $this->node->isCreditLate = true;

        $plasm->run(self::MODULE, ['args' => ['again']] + $options);

        [$first, $second] = array_values($this->node->jobs);
        self::assertSame(hash('sha256', $first->uploads[7]), hash('sha256', $second->uploads[7]));
    }

    public function testAnInterruptedUploadAndFetchResumeWhereTheyWere(): void
    {
        $bytes = random_bytes(500_000);
        $this->node->files = new MockFiles(['log' => $bytes]);
        $this->node->breakUploadAt = 200_000;
        $this->node->breakFetchAt = 250_000;

        $result = $this->plasm()->run(self::MODULE, ['files' => ['in' => $bytes], 'outputs' => ['log']]);

        self::assertSame($bytes, $result->files['log']->contents());
        $offsets = array_column(array_column(array_filter($this->node->heard, static fn (array $heard): bool
            => $heard[0] === 'fetch'), 1), 'offset');
        self::assertSame([0, 250_000], $offsets);
    }

    public function testAnOutputThatTheJobDidNotLeaveIsNotFetched(): void
    {
        $this->node->files = new MockFiles(['log' => 'said']);

        $result = $this->plasm()->run(self::MODULE, self::OPTIONS);

        self::assertSame(['log'], array_keys(iterator_to_array($result->files)));
        self::assertSame(1, count(array_keys($this->node->heardTypes(), 'fetch', true)));
    }

    /**
     * @dataProvider lies
     *
     * @param array{string, string} $served
     */
    #[DataProvider('lies')]
    public function testFilesThatTheReceiptDoesNotStateAreRefused(string $path, array $served, string $message): void
    {
        $this->node->served = [$path => $served];

        try {
            $this->plasm()->run(self::MODULE, self::OPTIONS);
            self::fail('they were taken');
        } catch (FilesNotServed $exception) {
            self::assertStringContainsString($message, $exception->getMessage());
        }
    }

    /** @return iterable<string, array{string, array{string, string}, string}> */
    public static function lies(): iterable
    {
        $pack = static fn (array $files): string => (new MockFiles(['out' => $files]))->contents('out')[1];
        $good = $pack(['a' => 'one', 'b' => 'two']);
        $linked = Listing::encode([new TreeEntry('a', TreeEntry::LINK, target: 'b')]);
        yield 'another file' => ['log', ['file', 'sai!'], 'not the file'];
        yield 'a longer one' => ['log', ['file', 'said it'], 'not the file'];
        yield 'a shorter one' => ['log', ['file', ''], 'not the file'];
        yield 'nothing' => ['log', ['none', ''], 'the node has nothing where its receipt states a file'];
        yield 'a tree' => ['log', ['tree', $good], 'the node has a tree where its receipt states a file'];
        yield 'a file' => ['out', ['file', $good], 'the node has a file where its receipt states a tree'];
        yield 'another tree' => ['out', ['tree', $pack(['a' => 'one', 'b' => 'TWO'])], 'the listing has another digest'];
        yield 'other bytes' => ['out', ['tree', substr($good, 0, -1) . 'X'], 'a file has another digest'];
        yield 'a byte less' => ['out', ['tree', substr($good, 0, -1)], 'whose listing tells of'];
        yield 'a byte more' => ['out', ['tree', $good . 'X'], 'whose listing tells of'];
        yield 'no pack' => ['out', ['tree', ''], 'with a listing of 0'];
        yield 'a listing beyond its end' => ['out', ['tree', "\xff\xff\xff\xff" . substr($good, 4)], 'with a listing of 4294967295'];
        yield 'a link' => ['out', ['tree', pack('V', strlen($linked)) . $linked], 'another digest'];
    }

    public function testAReceiptThatStatesALinkInAnOutputIsOfNoUse(): void
    {
        $linked = Listing::encode([new TreeEntry('a', TreeEntry::LINK, target: 'b')]);
        $this->node->served = ['out' => ['tree', pack('V', strlen($linked)) . $linked]];
        $this->sign('"tree:out","digest":{"sha256":"' . FileTree::of(['a' => 'one', 'b' => 'two'])->tree, hash('sha256', $linked));

        $this->assertRefused(FilesNotServed::class, 'an entry that no output has');
    }

    public function testMoreThanTheJobMayLeaveIsRefusedBeforeItIsTaken(): void
    {
        $limits = new FileLimits(dataBytes: 1000, entries: 6);
        $large = ['log' => str_repeat('x', 5 + 1000)];
        $this->node->files = new MockFiles($large);
        $this->assertRefused(FilesNotServed::class, "1005 bytes of 'log', but the job may leave at most 1004", $limits);

        $this->node->files = new MockFiles(['log' => str_repeat('x', 600), 'out' => ['a' => str_repeat('y', 405)]]);
        $this->assertRefused(FilesNotServed::class, '405 bytes of files, more than 404', $limits);

        $this->node->files = new MockFiles(['out' => array_fill_keys(range('a', 'h'), '')]);
        $this->assertRefused(FilesNotServed::class, 'more than 7 entries', $limits);
    }

    /** @dataProvider malice */
    #[DataProvider('malice')]
    public function testANodeThatDoesNotKeepToTheProtocolIsLeft(string $frames, string $message): void
    {
        $this->node->serving = static fn (): string => $frames;

        $this->assertRefused(FilesNotServed::class, $message);
    }

    /** @return iterable<string, array{string, string}> */
    public static function malice(): iterable
    {
        $data = static fn (int $channel, int $offset, string $bytes): string
            => pack('NCCJ', 10 + strlen($bytes), 1, $channel, $offset) . $bytes;
        yield 'a gap' => [$data(8, 1, 'aid'), 'contents at offset 1'];
        yield 'too much' => [$data(8, 0, 'said it'), '7 bytes of contents, of which there are 4'];
        yield 'output' => [$data(5, 0, 'said'), 'bytes of stdout have no place'];
        yield 'files' => [$data(7, 0, 'said'), 'bytes of files have no place'];
        $again = ['job_id' => str_repeat('0', 64), 'kind' => 'file', 'size' => 4];
        yield 'once more' => [FakeConversation::message('contents', $again), 'no place'];
        yield 'another channel' => [$data(9, 0, 'said'), 'there is no channel 9'];
        yield 'a frame too long' => [pack('NC', Frame::DATA_HEADER_BYTES + Frame::MAX_DATA_BYTES + 1, 1), 'more than the'];
    }

    public function testAFetchThatIsRefusedIsANodesFailure(): void
    {
        $this->node->unserved = ['log' => 'unknown_output'];

        $this->assertRefused(FilesNotServed::class, 'not for you');
    }

    /** @dataProvider falseReceipts */
    #[DataProvider('falseReceipts')]
    public function testAReceiptThatCannotBeIsRefused(string $from, string $to, string $message): void
    {
        $this->sign($from, $to);

        $this->assertRefused(ReceiptRejected::class, $message);
    }

    /** @return iterable<string, array{string, string, string}> */
    public static function falseReceipts(): iterable
    {
        yield 'an output that was not asked for' => ['"file:log"', '"file:other"', "'other' is not an output of the task"];
        yield 'twice' => ['"file:log"', '"tree:out"', "'out' is not an output of the task, once"];
        yield 'no output' => ['"file:log"', '"link:log"', 'expected the name of an output'];
        yield 'another task' => ['"dataBytes":"268435456"', '"dataBytes":"1"', 'not the digest of the fields'];
        yield 'another gas schedule' => ['plasm.gas/v2', 'plasm.gas/v1', 'gasSchedule: expected "plasm.gas/v2"'];
        yield 'the other profile' => ['plasm.det/v2', 'plasm.det/v1', 'go with the profile plasm.det/v2'];
    }

    public function testAJobThatIsOnlySaidToHaveEndedLeavesNoFiles(): void
    {
        $this->node->outcome = Outcome::timedOut();

        $this->assertRefused(MalformedReceipt::class, 'leaves no files');
    }

    public function testAnotherProcessFetchesTheFilesByTheHandle(): void
    {
        $handle = $this->plasm()->submit(self::MODULE, self::OPTIONS);

        self::assertSame('two', $this->plasm()->result($handle)->files['out/b']->contents());
    }

    public function testAStreamThatIsKeptKnowsWhatTheNodeCan(): void
    {
        $conversation = new \Plasm\Protocol\Conversation(5, ['files']);

        self::assertSame(['files'], $conversation->features());
    }

    public function testANodeBuysTimeWithBytesOnly(): void
    {
        $clock = new FakeClock();
        $limits = new FetchLimits(1, 1 << 30);
        $strangers = new Fetching(new Product('log', 'file', str_repeat('0', 64)), $limits, $clock);
        $own = new Fetching(new Product('log', 'file', str_repeat('0', 64)), $limits);
        $clock->advance(59.0);
        self::assertEqualsWithDelta(1.0, $strangers->deadline()?->remaining(), 1e-6);
        $strangers->take(str_repeat('x', 10 * Bounds::LEAST_BYTES_PER_S));
        self::assertEqualsWithDelta(11.0, $strangers->deadline()?->remaining(), 1e-6);
        self::assertNull($own->deadline());
        $clock->advance(12.0);
        $this->expectException(TimedOut::class);

        $strangers->deadline()?->check('the rest');
    }

    public function testAHelloWithNamesThatAreNoneIsRefused(): void
    {
        $this->node->features = ['Files'];
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage('features: expected a list of names');

        $this->plasm()->run(self::MODULE);
    }

    private function assertRefused(string $class, string $message, FileLimits $limits = new FileLimits()): void
    {
        try {
            $this->plasm()->run(self::MODULE, [...self::OPTIONS, 'file_limits' => $limits]);
            self::fail('it was taken');
        } catch (ReceiptRejected | FilesNotServed $exception) {
            self::assertInstanceOf($class, $exception);
            self::assertStringContainsString($message, $exception->getMessage());
        }
    }

    /** Have receipts signed in which something else stands. */
    private function sign(string $from, string $to): void
    {
        $this->node->forge = function (string $envelope) use ($from, $to): string {
            $payload = base64_decode(json_decode($envelope, true)['payload'], true);
            $from = str_contains($from, 'sha256') ? substr($from, -64) : $from;
            self::assertStringContainsString($from, $payload);

            return $this->node->signer->sign(str_replace($from, $to, $payload))->toJson();
        };
    }

    /** @return array<string, mixed> the fields of the last message of a type */
    private function heard(string $type): array
    {
        $found = array_filter($this->node->heard, static fn (array $heard): bool => $heard[0] === $type);

        return end($found)[1];
    }

    private function plasm(): Client
    {
        return new Client($this->node, timeouts: new Timeouts(), retries: new RetryPolicy(attempts: 3), clock: $this->node->clock);
    }
}
