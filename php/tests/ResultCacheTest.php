<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Cache\ResultCache;
use Plasm\Client;
use Plasm\Exception\InvalidArgument;
use Plasm\Outcome;
use Plasm\Reputation;
use Plasm\Submission;
use Plasm\Testing\MockAnswer;
use Plasm\Testing\MockTransport;
use Plasm\Testing\ReceiptSigner;
use Plasm\Verifier\Quorum;

/** The same task is not run twice, and what is kept is not believed unless it verifies. */
final class ResultCacheTest extends TestCase
{
    private const MODULE = "\0asm\1\0\0\0";

    private string $home;
    private string $directory;
    private MockTransport $node;

    protected function setUp(): void
    {
        $this->home = sys_get_temp_dir() . '/plasm-kept-' . bin2hex(random_bytes(8));
        mkdir($this->home, 0700);
        $this->directory = "$this->home/results";
        $this->node = new MockTransport(static fn (Submission $job): MockAnswer
            => MockAnswer::exited(0, strrev($job->stdin->read(0, 1 << 20)), 'said'));
    }

    protected function tearDown(): void
    {
        foreach (glob("$this->directory/{,.}*", GLOB_BRACE) ?: [] as $path) {
            is_dir($path) && !is_link($path) ? @rmdir($path) : @unlink($path);
        }
        @rmdir($this->directory);
        @unlink($this->directory);
        rmdir($this->home);
    }

    public function testAnEqualTaskIsNotRunTwice(): void
    {
        $client = $this->client();
        $first = $client->run(self::MODULE, ['stdin' => 'abc']);
        $second = $client->run(self::MODULE, ['stdin' => 'abc', 'wall_time' => 7, 'attempts' => 2]);

        self::assertFalse($first->reused());
        self::assertTrue($second->reused());
        self::assertSame(['cba', 'said', $first->envelopeJson], [$second->stdout(), $second->stderr(), $second->envelopeJson]);
        self::assertSame((string) $first->verdict, (string) $second->verdict);
        self::assertSame($first->receipt->asked->jobId, $second->earlier?->jobId());
        self::assertCount(1, $this->node->jobs());
        self::assertSame(0100600, fileperms($this->only()));
        self::assertSame(040700, fileperms($this->directory));
    }

    public function testAnotherTaskIsRunAndOneWithRealTimeIsRunAgain(): void
    {
        $client = $this->client();
        $tasks = [['stdin' => 'abc'], ['stdin' => 'abd'], ['args' => ['x']], ['env' => ['A' => 'b']], ['gas' => '2e9'],
            ['seed' => str_repeat('1', 64)], ['grants' => ['clock.real']], ['grants' => ['clock.real']]];
        foreach ($tasks as $options) {
            self::assertFalse($client->run(self::MODULE, $options)->reused());
        }

        self::assertCount(count($tasks), $this->node->jobs());
    }

    public function testNothingIsKeptUnlessTheCallerAskedForIt(): void
    {
        (new Client($this->node))->run(self::MODULE, ['stdin' => 'abc']);

        self::assertDirectoryDoesNotExist($this->directory);
    }

    public function testAFailureThatTheTaskFixesIsKeptAndOneOfTheMomentIsNot(): void
    {
        $ends = [[Outcome::outOfGas(), true], [Outcome::trapped('unreachable'), true], [Outcome::timedOut(), false]];
        foreach ($ends as [$outcome, $kept]) {
            $node = new MockTransport(static fn (): MockAnswer => MockAnswer::ended($outcome));
            $client = new Client($node, reuse: new ResultCache($this->directory));
            $options = ['stdin' => (string) $outcome];
            $client->run(self::MODULE, $options);

            self::assertSame($kept, $client->run(self::MODULE, $options)->reused(), (string) $outcome);
        }
    }

    /** Else a node that lied once to a client of the network would have lied to each later run on this machine. */
    public function testAStrangersWordDoesNotReplaceARunOfOnesOwn(): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => 'abc']);
        $entry = (string) file_get_contents($this->only());
        file_put_contents($this->only(), str_replace('"standing":"OWN"', '"standing":"STRANGER"', $entry, $count));
        $wanted = Submission::create(self::MODULE, ['stdin' => 'abc'])->manifest;
        $cache = new ResultCache($this->directory);

        self::assertSame(1, $count);
        self::assertNotNull($cache->find($wanted, strangers: true));
        self::assertNull($cache->find($wanted));
        self::assertFalse($client->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    public function testABatchTakesWhatAnEarlierOneHasComputed(): void
    {
        $client = $this->client();
        $outputs = static fn (array $inputs): array
            => array_map('strval', iterator_to_array($client->map(self::MODULE, $inputs, inFlight: 2)));

        self::assertSame(['a1', 'b2', 'c3'], $outputs(['1a', '2b', '3c']));
        self::assertSame(['z0', 'a1', 'b2', 'c3', 'd4'], $outputs(['0z', '1a', '2b', '3c', '4d']));
        self::assertCount(5, $this->node->jobs());
    }

    /**
     * @param \Closure(string): string $change
     *
     * @dataProvider alterations
     */
    #[DataProvider('alterations')]
    public function testAnEntryThatWasAlteredIsRunAgain(\Closure $change): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => 'abc']);
        $path = $this->only();
        file_put_contents($path, $change((string) file_get_contents($path)));

        $again = $client->run(self::MODULE, ['stdin' => 'abc']);

        self::assertSame(['cba', false], [(string) $again, $again->reused()]);
        self::assertTrue($client->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    /** @return iterable<string, array{\Closure(string): string}> */
    public static function alterations(): iterable
    {
        yield 'another output' => [static fn (string $data): string => str_replace('cba', 'cbb', $data)];
        yield 'cut short' => [static fn (string $data): string => substr($data, 0, -1)];
        yield 'longer' => [static fn (string $data): string => $data . 'x'];
        yield 'empty' => [static fn (string $data): string => ''];
        yield 'an empty header' => [static fn (string $data): string => "{}\n"];
        yield 'no JSON' => [static fn (string $data): string => str_repeat('[', 100_000)];
        yield 'another payload' => [static fn (string $data): string => str_replace('"payload"', '"payloae"', $data)];
        yield 'another format' => [static fn (string $data): string => str_replace('plasm.reuse/v1', 'plasm.reuse/v0', $data)];
        $others = [
            'sizes' => [null, 5, [1, 1, 1], [-1, 1, 1, 1], [1 << 62, 1, 1, 1], ['1', '1', '1', '1'], [0, 0, 0, 0]],
            'standing' => [null, 5, 'FRIEND', ['OWN']],
            'signer' => [null, 5, 'x', '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB'],
        ];
        foreach ($others as $name => $values) {
            foreach ($values as $value) {
                yield "$name " . json_encode($value) => [static function (string $data) use ($name, $value): string {
                    [$header, $rest] = explode("\n", $data, 2);

                    return json_encode([$name => $value] + (array) json_decode($header, true)) . "\n$rest";
                }];
            }
        }
    }

    public function testTheResultOfAnotherTaskIsNotTakenForThisOnes(): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => 'abc']);
        $other = $this->only();
        $client->run(self::MODULE, ['stdin' => 'xyz']);
        [$mine] = array_values(array_diff(glob("$this->directory/*") ?: [], [$other]));
        copy($mine, $other);

        $again = $client->run(self::MODULE, ['stdin' => 'abc']);

        self::assertSame(['cba', false], [(string) $again, $again->reused()]);
    }

    public function testAResultOfANodeThatIsNotPinnedIsNotTaken(): void
    {
        $this->client()->run(self::MODULE, ['stdin' => 'abc']);
        $other = new MockTransport(static fn (): MockAnswer => MockAnswer::exited(0, 'cba'));
        $pinned = new Client($other, [$other->peer()], reuse: new ResultCache($this->directory));

        self::assertFalse($pinned->run(self::MODULE, ['stdin' => 'abc'])->reused());
        self::assertTrue($pinned->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    public function testAResultOfANodeThatWasConvictedIsNotTaken(): void
    {
        $this->client()->run(self::MODULE, ['stdin' => 'abc']);
        $manifest = Submission::create(self::MODULE, ['stdin' => 'abc'])->manifest;
        $cache = new ResultCache($this->directory);

        self::assertNotNull($cache->find($manifest, [], [ReceiptSigner::withFreshKey()->peer]));
        self::assertNull($cache->find($manifest, [], [$this->node->peer()]));
    }

    public function testAStrangersResultDoesNotCountWhereAKnownNodeIsRequired(): void
    {
        $this->client()->run(self::MODULE, ['stdin' => 'abc']);
        $path = $this->only();
        file_put_contents($path, str_replace('"OWN"', '"STRANGER"', (string) file_get_contents($path)));
        $strict = new Client($this->node, require: 'known', reuse: new ResultCache($this->directory));

        self::assertFalse($strict->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    /** @dataProvider noEntries */
    #[DataProvider('noEntries')]
    public function testAFileThatIsNoCacheEntryIsNotRead(string $kind): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => 'abc']);
        $path = $this->only();
        unlink($path);
        match ($kind) {
            'pipe' => posix_mkfifo($path, 0600),
            'directory' => mkdir($path),
            'link' => symlink('/dev/zero', $path),
        };

        $again = $client->run(self::MODULE, ['stdin' => 'abc']);

        self::assertSame(['cba', false], [(string) $again, $again->reused()]);
    }

    /** @return list<array{string}> */
    public static function noEntries(): array
    {
        return [['pipe'], ['directory'], ['link']];
    }

    public function testADirectoryThatOthersMayEnterIsNotUsed(): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => 'abc']);
        chmod($this->directory, 0770);

        self::assertFalse($client->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    public function testAnUnwritableCacheLosesNoResult(): void
    {
        touch($this->directory);

        self::assertSame('cba', (string) $this->client()->run(self::MODULE, ['stdin' => 'abc']));
        self::assertFalse($this->client()->run(self::MODULE, ['stdin' => 'abc'])->reused());
    }

    public function testTheLeastRecentlyUsedEntryIsDeletedFirst(): void
    {
        $client = $this->client();
        $client->run(self::MODULE, ['stdin' => '1']);
        $one = filesize($this->only());
        $client = new Client($this->node, reuse: new ResultCache($this->directory, maxBytes: 2 * $one + intdiv($one, 2)));
        $client->run(self::MODULE, ['stdin' => '2']);
        foreach (glob("$this->directory/*") ?: [] as $path) {
            touch($path, str_contains((string) file_get_contents($path), $this->task('1')) ? 1000 : 2000);
        }
        self::assertTrue($client->run(self::MODULE, ['stdin' => '1'])->reused());
        $client->run(self::MODULE, ['stdin' => '3']);

        self::assertTrue($client->run(self::MODULE, ['stdin' => '1'])->reused());
        self::assertFalse($client->run(self::MODULE, ['stdin' => '2'])->reused());
    }

    public function testVerifiersAreNotRepeatedByAKeptResult(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('leave out verifiers');

        new Client(['mode' => 'remote', 'bootstrap' => []], verifiers: [new Quorum()], reuse: true, reputation: new Reputation());
    }

    private function client(): Client
    {
        return new Client($this->node, reuse: new ResultCache($this->directory));
    }

    private function only(): string
    {
        $found = glob("$this->directory/*") ?: [];
        self::assertCount(1, $found);

        return $found[0];
    }

    private function task(string $stdin): string
    {
        return Submission::create(self::MODULE, ['stdin' => $stdin])->manifest->task->stdin;
    }
}
