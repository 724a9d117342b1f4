<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongOutput;
use Plasm\Exception\WrongTask;
use Plasm\Handle;
use Plasm\Job;
use Plasm\JobState;
use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\OutcomeKind;
use Plasm\Testing\MockAnswer;
use Plasm\Testing\MockTransport;
use Plasm\Testing\ReceiptSigner;

/** What an application sees, against a node in memory whose receipts are signed. */
final class ClientTest extends TestCase
{
    private const MODULE = "\0asm\1\0\0\0";

    /** @return iterable<string, array{MockAnswer}> */
    public static function answersThatAreToldOtherwise(): iterable
    {
        yield 'trapped, told as exited' => [
            MockAnswer::ended(Outcome::trapped('unreachable'))->withForgedOutcome(Outcome::exited(0)),
        ];
        yield 'exited, told as cancelled, so that output may be withdrawn' => [
            MockAnswer::exited()->withForgedOutcome(Outcome::cancelled()),
        ];
        yield 'out of gas, told as trapped, which is the same state' => [
            MockAnswer::ended(Outcome::outOfGas())->withForgedOutcome(Outcome::trapped('unreachable')),
        ];
    }

    /** @dataProvider answersThatAreToldOtherwise */
    public function testANodeThatTellsAnotherEndThanItsReceiptIsNotBelieved(MockAnswer $answer): void
    {
        $node = new MockTransport(static fn (): MockAnswer => $answer);
        $this->expectException(ContradictoryReceipt::class);
        $this->expectExceptionMessage('another end');

        (new Client($node))->run(self::MODULE);
    }

    public function testSubmitNowAndFetchLaterWithTheHandleAlone(): void
    {
        $node = MockTransport::answering('dlroW ,olleH');
        $handle = (new Client($node))->submit(self::MODULE, ['cpu' => 1]);

        $result = (new Client($node))->result($handle);

        self::assertSame('dlroW ,olleH', (string) $result);
        self::assertTrue($result->ok());
        self::assertSame(0, $result->exitCode);
        self::assertSame($node->peer()->publicKey, $result->verdict->signer->publicKey);
        self::assertSame(['signature', 'node', 'job', 'stdout', 'stderr'], $result->verdict->established);
    }

    public function testTheProcessThatSubmittedBindsTheTaskToo(): void
    {
        $plasm = new Client(MockTransport::answering('out'));

        $result = $plasm->result($plasm->submit(self::MODULE, ['stdin' => 'in', 'args' => ['a']]));

        $all = ['signature', 'node', 'job', 'task', 'module', 'args', 'env', 'stdin', 'stdout', 'stderr'];
        self::assertSame($all, $result->verdict->established);
    }

    public function testAJobThatFailedRaisesNothing(): void
    {
        $result = (new Client(MockTransport::answering('', 3, 'no such thing')))->run(self::MODULE);

        self::assertFalse($result->ok());
        self::assertSame(3, $result->exitCode);
        self::assertSame('no such thing', $result->stderr());
        self::assertSame('exited with code 3', (string) $result->outcome);
    }

    public function testATrapHasNoExitCode(): void
    {
        $node = new MockTransport(static fn (): MockAnswer => MockAnswer::ended(Outcome::trapped('unreachable')));

        $result = (new Client($node))->run(self::MODULE);

        self::assertNull($result->exitCode);
        self::assertSame('trapped: unreachable', (string) $result->outcome);
        self::assertFalse($result->ok());
    }

    public function testForgedOutputIsRejected(): void
    {
        $node = new MockTransport(static fn (): MockAnswer => MockAnswer::exited(0, 'true')->withForgedStdout('false'));
        $this->expectException(WrongOutput::class);

        (new Client($node))->run(self::MODULE);
    }

    /** The signed receipt of one's own other job, of the same node, proves nothing here. */
    public function testAReplayedReceiptIsRejected(): void
    {
        $signer = ReceiptSigner::withFreshKey();
        $other = Job::create(self::MODULE);
        $replayed = $signer->receipt($other->manifest, Outcome::exited(0), 'out');
        $node = new MockTransport(
            static fn (): MockAnswer => MockAnswer::exited(0, 'out')->withForgedReceipt($replayed),
            $signer,
        );
        $this->expectException(WrongJob::class);

        (new Client($node))->run(self::MODULE);
    }

    public function testAReceiptOfAnotherModuleIsRejectedWhereTheManifestIsKnown(): void
    {
        $signer = ReceiptSigner::withFreshKey();
        $forge = static function (Job $job) use ($signer): MockAnswer {
            $statement = $signer->statement(Job::create(self::MODULE . 'x')->manifest, Outcome::exited(0), 'out', '');
            $statement['predicate']['asked']['jobId'] = $job->id();
            $envelope = $signer->sign(json_encode($statement, JSON_THROW_ON_ERROR))->toJson();

            return MockAnswer::exited(0, 'out')->withForgedReceipt($envelope);
        };
        $node = new MockTransport($forge, $signer);
        $job = Job::create(self::MODULE);
        $handle = (new Client($node))->submit($job);
        $this->expectException(WrongTask::class);

        (new Client($node))->result($handle, manifest: $job->manifest);
    }

    public function testLogsArriveInPiecesAndAreVerified(): void
    {
        $output = random_bytes(200_000);
        $plasm = new Client(MockTransport::answering($output, 0, 'aside'));
        $heard = ['stdout' => [], 'stderr' => []];

        $verified = $plasm->logs(
            $plasm->submit(self::MODULE),
            static function (string $stream, string $bytes) use (&$heard): void {
                $heard[$stream][] = $bytes;
            },
        );

        self::assertGreaterThan(1, count($heard['stdout']));
        self::assertSame($output, implode('', $heard['stdout']));
        self::assertSame(['aside'], $heard['stderr']);
        self::assertContains('stdout', $verified->verdict->established);
    }

    public function testForgedLogsAreRejected(): void
    {
        $node = new MockTransport(static fn (): MockAnswer => MockAnswer::exited(0, 'true')->withForgedStdout('false'));
        $plasm = new Client($node);
        $this->expectException(WrongOutput::class);

        $plasm->logs($plasm->submit(self::MODULE), static fn (string $stream, string $bytes): bool => true);
    }

    public function testARunningJobIsWaitedForAndCancelled(): void
    {
        $plasm = new Client(new MockTransport(MockAnswer::running(...)));
        $handle = $plasm->submit(self::MODULE);

        self::assertSame(JobState::Running, $plasm->status($handle)->state);
        try {
            $plasm->result($handle, 0.5);
            self::fail('it had not ended');
        } catch (TimedOut $exception) {
            self::assertSame('the job to end (RUNNING)', $exception->waitedFor);
            self::assertSame('total', $exception->limit);
            self::assertStringStartsWith('waited 0.5 s for the job to end', $exception->getMessage());
        }
        self::assertSame(JobState::Canceled, $plasm->cancel($handle)->state);
        self::assertSame(JobState::Canceled, $plasm->wait($handle)->state);
        self::assertSame(OutcomeKind::Cancelled, $plasm->result($handle)->outcome->kind);
    }

    public function testWaitTellsEachState(): void
    {
        $plasm = new Client(MockTransport::answering(''));
        $states = [];

        $plasm->wait($plasm->submit(self::MODULE), changed: static function ($status) use (&$states): void {
            $states[] = $status->state;
        });

        self::assertSame([JobState::Complete], $states);
    }

    public function testAReleasedJobIsUnknown(): void
    {
        $plasm = new Client(MockTransport::answering(''));
        $handle = $plasm->submit(self::MODULE);
        $plasm->release($handle);
        $this->expectException(UnknownJob::class);

        $plasm->result($handle);
    }

    public function testAnotherSecretOpensNothing(): void
    {
        $node = MockTransport::answering('secret');
        $plasm = new Client($node);
        $handle = Handle::parse($plasm->submit(self::MODULE));
        $guessed = Handle::of($handle->jobId, str_repeat("\0", 32), $handle->peer);
        $this->expectException(UnknownJob::class);

        $plasm->result((string) $guessed);
    }

    public function testAWrongHandleIsNamedAsOne(): void
    {
        $this->expectException(InvalidRecord::class);
        $this->expectExceptionMessage('not a valid handle');

        (new Client(MockTransport::answering('')))->result('phase0-abc');
    }

    public function testOnlyPinnedNodesAreTalkedTo(): void
    {
        $node = MockTransport::answering('');
        $pinned = ReceiptSigner::withFreshKey()->peer;
        foreach ([[$pinned], [$pinned, (string) ReceiptSigner::withFreshKey()->peer]] as $pins) {
            try {
                (new Client($node, pinned: $pins))->submit(self::MODULE);
                self::fail('it was submitted');
            } catch (PeerMismatch) {
                self::assertSame([], $node->jobs());
            }
        }

        self::assertTrue((new Client($node, pinned: [(string) $node->peer()]))->run(self::MODULE)->ok());
    }

    public function testDiscover(): void
    {
        $node = MockTransport::answering('');

        $found = (new Client($node))->discover();

        self::assertCount(1, $found);
        self::assertTrue($found[0]->peer->equals($node->peer()));
    }

    public function testWhatTheNodeRefusesIsThrown(): void
    {
        $node = new MockTransport(static fn () => throw new Refused('limit_too_high', 'at most 1 GiB', 'ask for less'));

        try {
            (new Client($node))->submit(self::MODULE);
            self::fail('it was accepted');
        } catch (Refused $exception) {
            self::assertSame('limit_too_high', $exception->reason);
            self::assertSame('refused (limit_too_high): at most 1 GiB (ask for less)', $exception->getMessage());
        }
    }

    public function testOptionsReachTheManifest(): void
    {
        $node = MockTransport::answering('');
        $seed = str_repeat('ab', 32);
        (new Client($node))->submit(self::MODULE, [
            'cpu' => 2,
            'memory' => '64MiB',
            'output' => 1024,
            'timeout' => 30,
            'gas' => 1e9,
            'args' => ['a', 'b c', 7],
            'env' => ['LANG' => 'C', 'A' => ''],
            'stdin' => 'in',
            'seed' => $seed,
            'capabilities' => ['random.real', 'clock.real'],
            'attempts' => 1,
            'verify' => 'signature',
        ]);

        $job = $node->jobs()[0];
        $task = $job->manifest->task;

        self::assertSame([2, 30, 1], [$job->manifest->cpu, $job->manifest->wallTimeS, $job->manifest->attempts]);
        self::assertSame(
            [1_000_000_000, 64 << 20, 1024],
            [$task->limits->gas, $task->limits->memoryBytes, $task->limits->outputBytes],
        );
        self::assertSame([$seed, ['clock.real', 'random.real']], [$task->seed, $task->capabilities]);
        self::assertSame(hash('sha256', 'in'), $task->stdin);
        self::assertSame(hash('sha256', $job->env), $task->env);
        self::assertSame("\6\0\0\0\0\0\0\0LANG=C\2\0\0\0\0\0\0\0A=", $job->env);
    }

    public function testAManifestOfOnesOwnIsSentAsItIs(): void
    {
        $node = MockTransport::answering('');
        $manifest = Job::create(self::MODULE, ['stdin' => 'in'])->manifest;

        (new Client($node))->submit(self::MODULE, $manifest, ['stdin' => 'in']);

        self::assertSame($manifest->json, $node->jobs()[0]->manifest->json);
    }

    /** @dataProvider unusable */
    public function testWhatCannotBeUsedIsSaidBeforeAnythingIsSent(\Closure $submit, string $message): void
    {
        $node = MockTransport::answering('');
        try {
            $submit(new Client($node));
            self::fail('it was submitted');
        } catch (ExceptionInterface $exception) {
            self::assertStringContainsString($message, $exception->getMessage());
            self::assertSame([], $node->jobs());
        }
    }

    /** @return array<string, array{\Closure(Client): string, string}> */
    public static function unusable(): array
    {
        $with = static fn (mixed ...$options): \Closure => static fn (Client $plasm): string
            => $plasm->submit(self::MODULE, $options);

        return [
            'no file' => [static fn (Client $plasm): string => $plasm->submit('/nowhere.wasm'), 'there is no such file'],
            'a directory' => [static fn (Client $plasm): string => $plasm->submit('/'), 'it is a directory'],
            'no module' => [static fn (Client $plasm): string => $plasm->submit(7), 'the module: expected a string'],
            'a typo' => [$with(memroy: '1GiB'), 'unknown option: memroy; there are args, attempts'],
            'memory as words' => [$with(memory: 'lots'), 'memory: expected bytes'],
            'memory of another unit' => [$with(memory: '64MB'), 'memory: expected bytes'],
            'too little memory' => [$with(memory: 1), 'memory_bytes: expected an integer from 65536'],
            'gas as text' => [$with(gas: '1e9'), 'gas: expected a whole number, got string'],
            'no gas' => [$with(gas: 0), 'gas: expected an integer from 1'],
            'too much time' => [$with(timeout: 86_401), 'wall_time_s: expected an integer ≤ 86400'],
            'a NUL in an argument' => [$with(args: ["a\0b"]), 'cannot hold a NUL'],
            'arguments with names' => [$with(args: ['x' => 'a']), 'args: expected a list'],
            'a NUL in a variable' => [$with(env: ['A' => "a\0b"]), 'cannot hold a NUL'],
            'a variable without a value' => [$with(env: ['A=B', 'C']), 'env: expected NAME=VALUE, got C'],
            'stdin as a list' => [$with(stdin: []), 'stdin: expected a string, a stream'],
            'a short seed' => [$with(seed: 'ab'), 'seed: expected 64 lower-case hexadecimal digits'],
            'an unknown capability' => [$with(capabilities: ['files']), 'capabilities: expected a list of distinct'],
            'another route' => [$with(route: 'moon'), 'route: expected "here" or "network"'],
            'another verifier' => [$with(verify: 'quorum'), 'verify: this client verifies by "signature" only'],
            'input that a manifest does not name' => [
                static fn (Client $plasm): string
                    => $plasm->submit(self::MODULE, Job::create(self::MODULE)->manifest, ['stdin' => 'in']),
                'stdin is not what the manifest names',
            ],
            'limits beside a manifest' => [
                static fn (Client $plasm): string
                    => $plasm->submit(self::MODULE, Job::create(self::MODULE)->manifest, ['gas' => 1]),
                'not to be given beside a manifest: gas',
            ],
        ];
    }

    public function testStreamsAndFilesAreRead(): void
    {
        $node = new MockTransport(static fn (Job $job): MockAnswer => MockAnswer::exited(0, $job->stdin->read(0, 100)));
        $plasm = new Client($node);
        $path = (string) tempnam(sys_get_temp_dir(), 'plasm');
        file_put_contents($path, 'from a file');
        $process = popen('printf %s from-a-pipe', 'r');
        self::assertIsResource($process);

        self::assertSame('from a file', (string) $plasm->run(self::MODULE, ['stdin' => new \SplFileInfo($path)]));
        self::assertSame('from a file', (string) $plasm->run(self::MODULE, ['stdin' => fopen($path, 'rb')]));
        self::assertSame('from-a-pipe', (string) $plasm->run(self::MODULE, ['stdin' => $process]));
        pclose($process);
        unlink($path);
    }

    public function testAllRejectionsAreOneKind(): void
    {
        $node = new MockTransport(static fn (): MockAnswer => MockAnswer::exited()->withForgedReceipt('{}'));
        $this->expectException(ReceiptRejected::class);

        (new Client($node))->run(self::MODULE);
    }

    public function testAnOutputStreamStandsAtItsBeginning(): void
    {
        $output = random_bytes(5 << 20);
        $result = (new Client(MockTransport::answering($output)))->run(self::MODULE, ['output' => '8MiB']);

        self::assertSame(hash('sha256', $output), hash('sha256', (string) stream_get_contents($result->stdoutStream())));
        self::assertSame('', stream_get_contents($result->stderrStream()));
        self::assertSame(strlen($output), strlen($result->stdout()));
    }

    public function testTimeoutsAreMoreThanNothing(): void
    {
        $this->expectException(InvalidArgument::class);

        new \Plasm\Timeouts(idleS: 0);
    }
}
