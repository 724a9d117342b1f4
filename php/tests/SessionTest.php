<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\BadSignature;
use Plasm\Exception\ConnectionLost;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\UntrustedSigner;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongOutput;
use Plasm\Handle;
use Plasm\JobState;
use Plasm\Outcome;
use Plasm\RetryPolicy;
use Plasm\Submission;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Support\FakeConversation;
use Plasm\Tests\Support\FakeJob;
use Plasm\Tests\Support\FakeNode;
use Plasm\Timeouts;

/** The client and the protocol, against a node that speaks it frame by frame. */
final class SessionTest extends TestCase
{
    private FakeNode $node;
    private string $module;

    protected function setUp(): void
    {
        $this->node = new FakeNode();
        $this->module = "\0asm\1\0\0\0" . str_repeat('m', 300_000);
    }

    public function testAJobGoesThere(): void
    {
        $this->node->stdout = random_bytes(3_000_000);
        $this->node->stderr = 'aside';

        $result = $this->plasm()->run($this->module, ['args' => ['a'], 'env' => ['B' => 'c'], 'stdin' => 'in']);

        self::assertSame(hash('sha256', $this->node->stdout), hash('sha256', (string) $result));
        self::assertSame('aside', $result->stderr());
        self::assertTrue($result->ok());
        self::assertContains('task', $result->verdict->established);
    }

    public function testAModuleThatTheNodeHasIsNotSent(): void
    {
        $this->module .= str_repeat('m', 1 << 20);
        $this->node->modules = [$this->module];

        $handle = $this->plasm()->submit($this->module, ['stdin' => 'in']);

        self::assertContains('possession', $this->node->heardTypes());
        self::assertSame(JobState::Running, $this->plasm()->status($handle)->state);
    }

    public function testAModuleThatTheNodeLacksIsSentAfterTheQuestion(): void
    {
        $this->module .= str_repeat('m', 1 << 20);

        $this->plasm()->submit($this->module);

        self::assertSame($this->module, array_values($this->node->jobs)[0]->uploads[1]);
    }

    public function testCreditThatComesWithAnAnswerIsNotWaitedFor(): void
    {
        $this->module .= str_repeat('m', 1 << 20);
        $this->node->isCreditLate = true;
        $before = $this->node->clock->now();

        $this->plasm()->submit($this->module);

        self::assertSame($before, $this->node->clock->now());
    }

    public function testAnInterruptedUploadResumesWhereItBroke(): void
    {
        $this->node->breakUploadAt = 150_000;

        $this->plasm()->submit($this->module);

        self::assertSame(2, $this->node->conversations);
        self::assertCount(1, $this->node->jobs);
        self::assertTrue(array_values($this->node->jobs)[0]->isAccepted);
    }

    public function testInterruptedOutputResumesWhereItBroke(): void
    {
        $this->node->stdout = random_bytes(400_000);
        $this->node->breakOutputAt = 250_000;

        $result = $this->plasm()->run($this->module);
        $attached = array_values(array_filter($this->node->heard, static fn (array $heard): bool => $heard[0] === 'attach'));

        self::assertSame($this->node->stdout, (string) $result);
        self::assertSame([0, 250_000], array_map(static fn (array $heard): int => $heard[1]['offsets']['stdout'], $attached));
    }

    public function testOutputOfAnotherAttemptRestartsAndIsShownOnce(): void
    {
        $this->node->stdout = random_bytes(400_000);
        $this->node->restartAt = 120_000;
        $plasm = $this->plasm();
        $handle = $plasm->submit($this->module);
        $shown = '';

        $plasm->logs($handle, static function (string $stream, string $bytes) use (&$shown): void {
            $shown .= $bytes;
        });
        $this->node->restartAt = 120_000;
        $result = $plasm->result($handle);

        self::assertSame($this->node->stdout, $shown);
        self::assertSame($this->node->stdout, (string) $result);
    }

    public function testSubmittingOneJobTwiceSendsNothingAgain(): void
    {
        $job = Submission::create($this->module);
        $this->node->breakUploadAt = strlen($this->module);
        // The stream breaks when all is sent, before it is accepted: the client cannot know, and asks again.
        $this->plasm()->submit($job);

        self::assertCount(1, $this->node->jobs);
    }

    public function testStatusAndCancel(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit($this->module);

        self::assertSame(JobState::Running, $plasm->status($handle)->state);
        self::assertSame(JobState::Canceled, $plasm->cancel($handle)->state);
        self::assertSame('cancelled', (string) $plasm->result($handle)->outcome);
    }

    public function testAQueueThatIsFullIsAskedAgainWhenItSaysSo(): void
    {
        $full = ['reason' => 'queue_full', 'message' => 'full', 'retry_after_s' => 7];
        $this->node->refusals = [$full, $full];

        $this->plasm()->submit($this->module);

        self::assertCount(2, $this->node->clock->slept);
        foreach ($this->node->clock->slept as $pause) {
            self::assertGreaterThanOrEqual(7, $pause);
        }
    }

    public function testALocalGatewaysWordForTheNodeBehindItIsTaken(): void
    {
        $this->node->behind = ReceiptSigner::withFreshKey();

        $result = $this->plasm()->run($this->module, ['route' => 'network']);

        self::assertSame('network', $this->node->heard[0][1]['route']);
        self::assertTrue($result->verdict->signer->equals($this->node->behind->peer));
    }

    public function testAStrangersWordForAnotherNodeIsNotTaken(): void
    {
        $this->node->behind = ReceiptSigner::withFreshKey();
        $this->node->isProven = true;
        $this->expectException(UntrustedSigner::class);

        $this->plasm()->run($this->module);
    }

    public function testBehindAGatewayOnlyPinnedNodesAreTrusted(): void
    {
        $this->node->behind = ReceiptSigner::withFreshKey();
        $pinned = [$this->node->signer->peer, $this->node->behind->peer];
        $both = new Client($this->node, pinned: $pinned, clock: $this->node->clock);
        $one = new Client($this->node, pinned: [$pinned[0]], clock: $this->node->clock);

        self::assertTrue($both->run($this->module)->ok());
        $this->expectException(UntrustedSigner::class);
        $one->run($this->module);
    }

    public function testOutputThatTheNodeLostIsForgotten(): void
    {
        foreach (['result', 'logs'] as $method) {
            $this->node->stdout = str_repeat('x', 100_000);
            $this->node->withdrawAt = 50_000;
            $plasm = $this->plasm();
            $handle = $plasm->submit($this->module);

            $verified = $method === 'result'
                ? $plasm->result($handle)
                : $plasm->logs($handle, static fn (string $stream, string $bytes): bool => true);

            self::assertSame('cancelled', (string) $verified->receipt->observed->outcome);
            self::assertSame('', $method === 'result' ? (string) $verified : '');
        }
    }

    public function testAModuleThatWasThrownOutMeanwhileIsSentAgain(): void
    {
        $this->node->refusals = [['reason' => 'module_missing', 'message' => 'thrown out']];

        $this->plasm()->submit($this->module);

        self::assertTrue(array_values($this->node->jobs)[0]->isAccepted);
    }

    public function testNobodyWaitsAsLongAsANodePleases(): void
    {
        $this->node->refusals = [['reason' => 'queue_full', 'message' => 'full', 'retry_after_s' => 86_400]];
        try {
            $this->plasm()->submit($this->module);
            self::fail('it was accepted');
        } catch (Refused $exception) {
            self::assertSame(86_400, $exception->retryAfterS);
            self::assertSame([], $this->node->clock->slept);
        }
    }

    public function testARefusalThatIsFinalIsNotAskedAgain(): void
    {
        $this->node->refusals = [['reason' => 'policy', 'message' => 'not yours', 'hint' => 'ask the owner']];
        try {
            $this->plasm()->submit($this->module);
            self::fail('it was accepted');
        } catch (Refused $exception) {
            self::assertSame(['policy', 'ask the owner'], [$exception->reason, $exception->hint]);
            self::assertSame(1, $this->node->conversations);
        }
    }

    /** @dataProvider goneReasons */
    #[DataProvider('goneReasons')]
    public function testAJobThatIsGoneIsUnknown(string $reason): void
    {
        $handle = $this->plasm()->submit($this->module);
        $this->node->refusals = [['reason' => $reason, 'message' => 'gone']];
        $this->expectException(UnknownJob::class);

        $this->plasm()->status($handle);
    }

    /** @return list<array{string}> */
    public static function goneReasons(): array
    {
        return [['unknown_job'], ['released'], ['expired']];
    }

    public function testAnUnknownJobIsReportedAsUnknown(): void
    {
        $handle = Handle::create(hash('sha256', 'x'), $this->node->signer->peer);
        $this->expectException(UnknownJob::class);

        $this->plasm()->result((string) $handle);
    }

    /** @dataProvider forgeries */
    #[DataProvider('forgeries')]
    public function testEachForgeryHasItsOwnException(string $exception, \Closure $forge): void
    {
        $this->node->stdout = 'true';
        $this->node->forge = fn (string $envelope, FakeJob $job): string => $forge($envelope, $job, $this->node);
        $this->expectException($exception);

        $this->plasm()->run($this->module);
    }

    /** @return array<string, array{class-string, \Closure(string, FakeJob, FakeNode): string}> */
    public static function forgeries(): array
    {
        return [
            'output' => [WrongOutput::class, static fn (string $envelope, FakeJob $job, FakeNode $node): string
                => $node->signer->receipt($job->manifest, Outcome::exited(0), 'false')],
            'receipt' => [BadSignature::class, static fn (string $envelope): string
                => (string) preg_replace('/"payload":"ey/', '"payload":"eX', $envelope)],
            "another node's receipt" => [UntrustedSigner::class, static fn (string $envelope, FakeJob $job): string
                => ReceiptSigner::withFreshKey()->receipt($job->manifest, Outcome::exited(0), 'true')],
            "another job's receipt" => [WrongJob::class, static fn (string $envelope, FakeJob $job, FakeNode $node): string
                => $node->signer->receipt(Submission::create("\0asm")->manifest, Outcome::exited(0), 'true')],
        ];
    }

    /** @dataProvider nonsense */
    #[DataProvider('nonsense')]
    public function testANodeThatDoesNotKeepToTheProtocolIsLeft(string $answer, string $message): void
    {
        $this->node->nonsense = $answer;
        try {
            $this->plasm()->submit($this->module);
            self::fail('it was accepted');
        } catch (ProtocolError $exception) {
            self::assertStringContainsString($message, $exception->getMessage());
            self::assertSame(1, $this->node->conversations);
        }
    }

    /** @return array<string, array{string, string}> */
    public static function nonsense(): array
    {
        $message = FakeConversation::message(...);
        $counts = ['module' => 0, 'args' => 0, 'env' => 0, 'stdin' => 0];
        $offered = ['expires_s' => 60, 'challenge' => str_repeat('0', 64), 'credit' => $counts];
        $other = ['job_id' => hash('sha256', 'other')] + $offered;
        $status = ['state' => 'RUNNING', 'attempt' => 0, 'stdout_bytes' => 0, 'stderr_bytes' => 0];

        return [
            'no frame' => ["HTTP/1.1 400 Bad Request\r\n\r\n", 'there is no frame of type'],
            'a hostile length' => ["\xff\xff\xff\xff\0", 'a frame of 4294967295 bytes'],
            'a hostile length of data' => ["\0\1\0\x0b\1", 'a frame of 65547 bytes'],
            'an unknown message' => [$message('dance'), 'an unknown message: dance'],
            'hello twice' => [$message('hello', ['peer' => (string) ReceiptSigner::withFreshKey()->peer]), 'submit was answered by hello'],
            'another answer' => [$message('capabilities', ['envelope' => '']), 'submit was answered by capabilities'],
            'a result of nothing' => [$message('result', ['status' => $status, 'envelope' => '']), 'submit was answered by result'],
            'output of nothing' => ["\0\0\0\x0b\1\5\0\0\0\0\0\0\0\0x", 'bytes of stdout have no place'],
            'another job' => [$message('offered', $other + ['received' => $counts]), 'the node answers about the job'],
            'more received than there is' => [
                $message('offered', $other + ['received' => ['module' => 1 << 40] + $counts]),
                'bytes of module received, of 300008',
            ],
            'credit for nothing' => [$message('credit', ['channel' => 'module', 'upto' => 1]), 'credit for module has no place'],
            'a field of another type' => [$message('refused', ['reason' => 7, 'message' => '']), 'reason: expected a name, got 7'],
            'heartbeats without end' => [str_repeat($message('heartbeat'), 1100), 'messages without progress'],
            'much, and then an error' => [
                str_repeat($message('heartbeat'), 990) . $message('error', ['code' => 'protocol', 'message' => 'what?']),
                'what? (protocol)',
            ],
            'an error' => [$message('error', ['code' => 'protocol', 'message' => 'what?']), 'what? (protocol)'],
        ];
    }

    /** @dataProvider badOutputs */
    #[DataProvider('badOutputs')]
    public function testOutputThatBreaksTheRulesIsRefused(string $frames, string $message): void
    {
        $plasm = $this->plasm();
        $handle = Handle::parse($plasm->submit($this->module));
        $status = ['state' => 'COMPLETE', 'attempt' => 1, 'stdout_bytes' => 7, 'stderr_bytes' => 0];
        $this->node->nonsense = FakeConversation::message('attached', ['job_id' => $handle->jobId, 'status' => $status])
            . $frames;
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage($message);

        $plasm->result((string) $handle);
    }

    /** @return array<string, array{string, string}> */
    public static function badOutputs(): array
    {
        $message = FakeConversation::message(...);
        $data = static fn (int $channel, int $offset, string $bytes): string
            => pack('NCCJ', 10 + strlen($bytes), 1, $channel, $offset) . $bytes;
        $status = ['state' => 'COMPLETE', 'attempt' => 1, 'stdout_bytes' => 7, 'stderr_bytes' => 0];
        $result = static fn (array $changes): string => $message('result', ['status' => $changes + $status, 'envelope' => '{}']);
        return [
            'a gap' => [$data(5, 1, 'x'), 'stdout at offset 1, where 0 comes next'],
            'bytes of the client' => [$data(1, 0, 'x'), 'bytes of module have no place'],
            'an offset beyond all bounds' => [$data(5, PHP_INT_MIN, 'x'), 'an offset beyond 63 bits'],
            'too few bytes' => [$data(5, 0, 'short') . $result([]), 'a result after 5 of 7 bytes of stdout'],
            'a result that is none' => [$result(['state' => 'RUNNING']), 'a result in state RUNNING'],
            'a result of another attempt' => [$result(['attempt' => 2]), 'a result of another attempt'],
            'states without end' => [
                str_repeat($message('state', ['status' => ['state' => 'RUNNING'] + $status]), 1100),
                'messages without progress',
            ],
            'attempts that fall' => [$message('state', ['status' => ['attempt' => 0] + $status]), 'the number of attempts fell'],
        ];
    }

    public function testBytesWithoutCreditAreRefused(): void
    {
        $plasm = $this->plasm();
        $handle = Handle::parse($plasm->submit($this->module));
        $status = ['state' => 'RUNNING', 'attempt' => 1, 'stdout_bytes' => 1, 'stderr_bytes' => 0];
        $this->node->nonsense = FakeConversation::message('attached', ['job_id' => $handle->jobId, 'status' => $status])
            . pack('NCCJ', 11, 1, 5, 0) . 'x';
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage('1 bytes of stdout, with credit up to 0');

        $plasm->wait((string) $handle);
    }

    public function testTheNodeThatAnswersMustBeTheHandles(): void
    {
        $handle = $this->plasm()->submit($this->module);
        $impostor = new FakeNode();
        $this->expectException(PeerMismatch::class);

        $this->plasm($impostor)->result($handle);
    }

    public function testASilentNodeIsGivenUp(): void
    {
        $this->node->isSilent = true;
        try {
            $this->plasm()->submit($this->module);
            self::fail('it was accepted');
        } catch (TimedOut $exception) {
            self::assertSame(
                ['the node to introduce itself', 5.0, 'connect'],
                [$exception->waitedFor, $exception->seconds, $exception->limit],
            );
        }
    }

    public function testASilentNodeIsGivenUpAfterHeartbeats(): void
    {
        $plasm = new Client($this->node, retries: RetryPolicy::never(), clock: $this->node->clock);
        $handle = $plasm->submit($this->module);
        $this->node->nonsense = '';
        $this->node->heard = [];
        try {
            $plasm->status($handle);
            self::fail('it was answered');
        } catch (TimedOut $exception) {
            self::assertSame("waited 30 s for the job's status (idle timeout)", $exception->getMessage());
        }
        self::assertSame(['status', 'heartbeat', 'heartbeat'], $this->node->heardTypes());
    }

    public function testTheTotalTimeoutCountsOverAllAttempts(): void
    {
        $plasm = new Client($this->node, timeouts: new Timeouts(totalS: 12.5), clock: $this->node->clock);
        $handle = $plasm->submit($this->module);
        $this->node->nonsense = '';
        $began = $this->node->clock->now();
        try {
            $plasm->result($handle);
            self::fail('it was answered');
        } catch (TimedOut $exception) {
            self::assertSame('waited 12.5 s for the node to find the job (total timeout)', $exception->getMessage());
            self::assertEqualsWithDelta(12.5, $this->node->clock->now() - $began, 0.001);
        }
    }

    public function testANodeThatClosesIsTriedAgainWithGrowingPauses(): void
    {
        $this->node->nonsense = FakeConversation::message('error', ['code' => 'shutting_down', 'message' => 'bye']);
        $plasm = new Client($this->node, retries: new RetryPolicy(4, 1.0, 2.5), clock: $this->node->clock);
        try {
            $plasm->submit($this->module);
            self::fail('it was accepted');
        } catch (ConnectionLost $exception) {
            self::assertStringContainsString('bye (shutting_down)', $exception->getMessage());
        }

        self::assertSame(4, $this->node->conversations);
        self::assertCount(3, $this->node->clock->slept);
        foreach ([1.0, 2.0, 2.5] as $index => $longest) {
            self::assertLessThanOrEqual($longest, $this->node->clock->slept[$index]);
        }
    }

    public function testTheSecondSubmissionUsesTheFirstsToken(): void
    {
        $this->node->breakUploadAt = 1000;
        $this->plasm()->submit($this->module);
        $tokens = array_map(
            static fn (array $heard): string => $heard[1]['token'],
            array_values(array_filter($this->node->heard, static fn (array $heard): bool => $heard[0] === 'submit')),
        );

        self::assertCount(2, $tokens);
        self::assertSame($tokens[0], $tokens[1]);
    }

    private function plasm(?FakeNode $node = null): Client
    {
        return new Client($node ?? $this->node, retries: new RetryPolicy(3), clock: $this->node->clock);
    }
}
