<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\JobFailed;
use Plasm\Exception\NotEstablished;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongOutput;
use Plasm\Exception\WrongTask;
use Plasm\Handle;
use Plasm\JobState;
use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\OutcomeKind;
use Plasm\RetryPolicy;
use Plasm\Submission;
use Plasm\Testing\MockAnswer;
use Plasm\Testing\MockTransport;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Support\FakeNode;

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
    #[DataProvider('answersThatAreToldOtherwise')]
    public function testANodeThatTellsAnotherEndThanItsReceiptIsNotBelieved(MockAnswer $answer): void
    {
        $node = new MockTransport(static fn (): MockAnswer => $answer);
        $this->expectException(ContradictoryReceipt::class);
        $this->expectExceptionMessage('another outcome');

        (new Client($node))->run(self::MODULE);
    }

    /** @dataProvider standings */
    #[DataProvider('standings')]
    public function testTheRequirementsForANodeAreChecked(bool $isGateway, bool $isPinned, bool $suffices): void
    {
        $node = new FakeNode();
        $node->behind = $isGateway ? ReceiptSigner::withFreshKey() : null;
        $signer = $node->behind ?? $node->signer;
        $plasm = new Client($node, pinned: $isPinned ? [$node->signer->peer, $signer->peer] : [], require: 'known');
        $options = ['route' => $isGateway ? 'network' : 'here'];
        foreach (['run', 'logs'] as $way) {
            try {
                $way === 'run'
                    ? $plasm->run(self::MODULE, $options)
                    : $plasm->logs($plasm->submit(self::MODULE, $options), static fn (): mixed => null);
                self::assertTrue($suffices, $way);
            } catch (NotEstablished $exception) {
                self::assertFalse($suffices, $way);
                self::assertStringContainsString("signed by $signer->peer, a node that you do not know", $exception->getMessage());
            }
            self::assertNotNull($plasm->accepted());
        }
    }

    /** @return iterable<string, array{bool, bool, bool}> */
    public static function standings(): iterable
    {
        yield "this machine's own node" => [false, false, true];
        yield 'a stranger behind a gateway' => [true, false, false];
        yield 'a pinned node behind a gateway' => [true, true, true];
    }

    public function testAFactThatThisClientCannotEstablishCannotBeRequired(): void
    {
        foreach (['reexecution', 'quorum', 'audit', 'everything', ''] as $require) {
            try {
                new Client(MockTransport::answering(''), require: $require);
                self::fail("$require was taken");
            } catch (InvalidArgument $exception) {
                self::assertStringContainsString('"signature" and "known" only', $exception->getMessage());
            }
        }
    }

    public function testTheHandleIsKnownAlsoIfTheReceiptIsRejected(): void
    {
        $node = new MockTransport(static fn (): MockAnswer => MockAnswer::exited(0, 'true')->withForgedStdout('false'));
        $plasm = new Client($node);
        self::assertNull($plasm->accepted());
        try {
            $plasm->run(self::MODULE);
            self::fail('it was believed');
        } catch (WrongOutput) {
            self::assertSame($node->jobs()[0]->id(), Handle::parse((string) $plasm->accepted())->jobId);
        }
    }

    public function testADumpOfAClientShowsNoHandle(): void
    {
        $plasm = new Client(MockTransport::answering('output'));
        $handle = $plasm->submit(self::MODULE);
        $secret = substr($handle, 50, 40);

        foreach ([print_r($plasm, true), var_export((array) $plasm, true)] as $dump) {
            self::assertStringNotContainsString($secret, $dump);
        }
        ob_start();
        var_dump($plasm);
        self::assertStringNotContainsString($secret, (string) ob_get_clean());
        self::assertSame($handle, $plasm->accepted());
    }

    public function testTheHandleIsKnownAlsoIfTheAnswerToTheSubmissionIsLost(): void
    {
        $node = new FakeNode();
        $node->breakUploadAt = 8;
        $plasm = new Client($node, retries: RetryPolicy::never());
        try {
            $plasm->run(self::MODULE, ['stdin' => str_repeat('x', 100_000)]);
            self::fail('the connection broke');
        } catch (ConnectionLost) {
            $handle = Handle::parse((string) $plasm->accepted());
        }

        self::assertArrayHasKey("$handle->jobId/" . bin2hex($handle->token()), $node->jobs);
    }

    public function testNoHandleIsKnownOfAJobThatIsRefused(): void
    {
        $node = new FakeNode();
        $node->refusals = [['reason' => 'policy', 'message' => 'not for you']];
        $plasm = new Client($node);
        try {
            $plasm->run(self::MODULE);
            self::fail('it was taken');
        } catch (Refused) {
            self::assertNull($plasm->accepted());
        }
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

    public function testTheVerdictOfAJobThatFailedSaysSo(): void
    {
        $failed = (new Client(MockTransport::answering('', 3)))->run(self::MODULE);
        $done = (new Client(MockTransport::answering('')))->run(self::MODULE);

        self::assertStringEndsWith(', not re-executed; the job failed: exited with code 3', (string) $failed->verdict);
        self::assertStringEndsWith(', not re-executed; the job exited with code 0', (string) $done->verdict);
    }

    public function testAJobThatMustSucceedThrowsIfItFails(): void
    {
        $plasm = new Client(MockTransport::answering('half', 3, "no \x1b[31msuch thing\n"));
        $result = $plasm->result($plasm->submit(self::MODULE));
        foreach ([static fn () => $plasm->mustRun(self::MODULE), $result->orFail(...)] as $call) {
            try {
                $call();
                self::fail('nothing was thrown');
            } catch (JobFailed $failed) {
                self::assertSame(
                    'the job failed: exited with code 3; its stderr begins: no \x1b[31msuch thing',
                    $failed->getMessage(),
                );
                self::assertSame('half', $failed->result->stdout());
                self::assertSame("no \x1b[31msuch thing\n", $failed->result->stderr());
            }
        }
    }

    public function testAJobThatReachedALimitNamesTheOptionThatRaisesIt(): void
    {
        $plasm = new Client(new MockTransport(static fn (): MockAnswer => MockAnswer::ended(Outcome::outOfGas())));
        try {
            $plasm->mustRun(self::MODULE, ['gas' => '1e9']);
            self::fail('nothing was thrown');
        } catch (JobFailed $failed) {
            self::assertSame("'gas' => '2e9' (it was 1e9)", $failed->hint);
            self::assertSame("the job failed: out of gas ($failed->hint)", $failed->getMessage());
        }
    }

    public function testAJobThatMustSucceedAndDoesReturnsItsResult(): void
    {
        $plasm = new Client(MockTransport::answering('out'));

        self::assertSame('out', (string) $plasm->mustRun(self::MODULE));
        self::assertSame('out', (string) $plasm->result($plasm->submit(self::MODULE))->orFail());
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
        $other = Submission::create(self::MODULE);
        $replayed = $signer->receipt($other->manifest, Outcome::exited(0), 'out');
        $node = new MockTransport(
            static fn (): MockAnswer => MockAnswer::exited(0, 'out')->withForgedReceipt($replayed),
            $signer,
        );
        $this->expectException(WrongJob::class);

        (new Client($node))->run(self::MODULE);
    }

    public function testAReceiptOfAnotherModuleIsRejectedIfTheManifestIsKnown(): void
    {
        $signer = ReceiptSigner::withFreshKey();
        $forge = static function (Submission $job) use ($signer): MockAnswer {
            $statement = $signer->statement(Submission::create(self::MODULE . 'x')->manifest, Outcome::exited(0), 'out', '');
            $statement['predicate']['asked']['jobId'] = $job->id();
            $envelope = $signer->sign(json_encode($statement, JSON_THROW_ON_ERROR))->toJson();

            return MockAnswer::exited(0, 'out')->withForgedReceipt($envelope);
        };
        $node = new MockTransport($forge, $signer);
        $job = Submission::create(self::MODULE);
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

    public function testLogsContinueWhereAnEarlierCallStopped(): void
    {
        $plasm = new Client(MockTransport::answering(str_repeat('ab', 100_000) . 'end', 0, 'aside'));
        $heard = ['stdout' => '', 'stderr' => ''];
        $hear = static function (string $stream, string $bytes) use (&$heard): void {
            $heard[$stream] .= $bytes;
        };

        $verified = $plasm->logs($plasm->submit(self::MODULE), $hear, from: ['stdout' => 200_000, 'stderr' => 9]);

        self::assertSame(['stdout' => 'end', 'stderr' => ''], $heard);
        self::assertContains('stdout', $verified->verdict->established);
        foreach ([['stdin' => 1], ['stdout' => -1], ['stdout' => '1'], [5]] as $from) {
            try {
                $plasm->logs($plasm->submit(self::MODULE), $hear, from: $from);
                self::fail('it was taken');
            } catch (InvalidArgument $exception) {
                self::assertStringStartsWith('from: expected', $exception->getMessage());
            }
        }
    }

    public function testTheJobsTimeHasANameOfItsOwn(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('timeout is called wall_time now');

        (new Client(MockTransport::answering('')))->run(self::MODULE, ['timeout' => 5]);
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

    public function testARefusalByTheNodeIsThrown(): void
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
            'wall_time' => 30,
            'gas' => 1e9,
            'args' => ['a', 'b c', 7],
            'env' => ['LANG' => 'C', 'A' => ''],
            'stdin' => 'in',
            'seed' => $seed,
            'grants' => ['random.real', 'clock.real'],
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
        $manifest = Submission::create(self::MODULE, ['stdin' => 'in'])->manifest;

        (new Client($node))->submit(self::MODULE, $manifest, ['stdin' => 'in']);

        self::assertSame($manifest->json, $node->jobs()[0]->manifest->json);
    }

    /** @dataProvider unusable */
    #[DataProvider('unusable')]
    public function testUnusableValuesAreReportedBeforeAnythingIsSent(\Closure $submit, string $message): void
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
            'memory as words' => [$with(memory: 'lots'), 'memory: expected a number such as'],
            'memory of another unit' => [$with(memory: '64XB'), 'memory: expected a number such as'],
            'too little memory' => [$with(memory: 1), 'memory_bytes: expected an integer from 65536'],
            'part of a gas' => [$with(gas: '1.5'), 'gas: expected a whole number'],
            'no gas' => [$with(gas: 0), 'gas: expected an integer from 1'],
            'too much time' => [$with(wall_time: 86_401), 'wall_time_s: expected an integer ≤ 86400'],
            'a NUL in an argument' => [$with(args: ["a\0b"]), 'cannot hold a NUL'],
            'arguments with names' => [$with(args: ['x' => 'a']), 'args: expected a list'],
            'a NUL in a variable' => [$with(env: ['A' => "a\0b"]), 'cannot hold a NUL'],
            'a variable without a value' => [$with(env: ['A=B', 'C']), 'env: expected NAME=VALUE, got C'],
            'stdin as a list' => [$with(stdin: []), 'stdin: expected a string, a stream'],
            'a stream to write to' => [$with(stdin: fopen('php://output', 'w')), 'open for writing only'],
            'a file to append to' => [$with(stdin: fopen('/dev/null', 'a')), 'open for writing only'],
            'no stream' => [$with(stdin: stream_context_create()), 'expected a stream, got a resource of type'],
            'a short seed' => [$with(seed: 'ab'), 'seed: expected 64 lower-case hexadecimal digits'],
            'an unknown grant' => [$with(grants: ['files']), 'capabilities: expected a list of distinct'],
            'grants by their old name' => [$with(capabilities: []), 'the option capabilities is called grants now'],
            'another route' => [$with(route: 'moon'), 'route: expected "here" or "network"'],
            'another verifier' => [$with(verify: 'quorum'), 'verify: this client verifies by "signature" only'],
            'input that a manifest does not name' => [
                static fn (Client $plasm): string
                    => $plasm->submit(self::MODULE, Submission::create(self::MODULE)->manifest, ['stdin' => 'in']),
                'stdin is not what the manifest names',
            ],
            'limits beside a manifest' => [
                static fn (Client $plasm): string
                    => $plasm->submit(self::MODULE, Submission::create(self::MODULE)->manifest, ['gas' => 1]),
                'not to be given beside a manifest: gas',
            ],
        ];
    }

    public function testStreamsAndFilesAreRead(): void
    {
        $node = new MockTransport(static fn (Submission $job): MockAnswer => MockAnswer::exited(0, $job->stdin->read(0, 100)));
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

    public function testAStreamThatSaysLittleOfItselfIsReadWithoutANotice(): void
    {
        set_error_handler(static fn (int $level, string $notice): never => throw new \ErrorException($notice));
        try {
            self::assertSame(5, Submission::create(self::MODULE, ['stdin' => fopen('data:,hello', 'r')])->stdin->size());
        } finally {
            restore_error_handler();
        }
    }

    public function testNoNumberIsNoTimeout(): void
    {
        $this->expectException(InvalidArgument::class);

        (new Client(MockTransport::answering('')))->run(self::MODULE, timeout: NAN);
    }

    public function testAnInvalidPeerIdIsNotPinned(): void
    {
        $this->expectException(InvalidArgument::class);

        // @phpstan-ignore-next-line
        new Client(MockTransport::answering(''), pinned: [null]);
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
