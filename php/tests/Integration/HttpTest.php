<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\BadSignature;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\Unreachable;
use Plasm\Exception\WrongOutput;
use Plasm\Handle;
use Plasm\JobResult;
use Plasm\JobState;
use Plasm\OutcomeKind;
use Plasm\RetryPolicy;
use Plasm\Standing;
use Plasm\Submission;

/** Mode `http` against a real `plasm web` with a real daemon. */
final class HttpTest extends TestCase
{
    private const HELLO = __DIR__ . '/../../../examples/hello/hello.wasm';
    private const FILES = __DIR__ . '/../../../plasm_core/testing/modules/files.wasm';
    private const MODULES = __DIR__ . '/modules';
    private const STRANGER = '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB';

    private static ?PlasmWeb $web = null;

    public static function setUpBeforeClass(): void
    {
        self::$web = PlasmWeb::tryStart();
    }

    public static function tearDownAfterClass(): void
    {
        self::$web?->remove();
        self::$web = null;
    }

    protected function setUp(): void
    {
        if (self::$web === null) {
            self::markTestSkipped('plasm web is not installed here');
        }
    }

    public function testAJobIsRunAndItsReceiptVerified(): void
    {
        $result = $this->plasm()->run(self::HELLO, ['args' => ['some', "a\r\nb", ''], 'env' => ['A' => 'b'], 'stdin' => "x\0\n"]);

        self::assertSame(strrev("some a\r\nb ") . "\n", (string) $result);
        self::assertTrue($result->ok());
        self::assertSame(Standing::Own, $result->verdict->standing);
        self::assertContains('stdout', $result->verdict->established);
        self::assertStringStartsWith('Receipt verified ✓ signed by 12D3KooW', (string) $result->verdict);
    }

    public function testAJobIsSubmittedInOneClientAndFetchedByAnother(): void
    {
        $handle = $this->plasm()->submit(self::HELLO, ['args' => ['abc']]);

        $result = $this->plasm()->result($handle, 30);

        self::assertSame("cba\n", (string) $result);
    }

    public function testAJobThatFailsHasAReceiptToo(): void
    {
        $result = $this->plasm()->run(self::MODULES . '/spin.wasm', ['gas' => 1000]);

        self::assertSame(OutcomeKind::OutOfGas, $result->outcome->kind);
        self::assertSame('1000', $result->receipt->observed->gasUsed);
    }

    public function testAJobThatNeverEndsIsCancelledAndReleased(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::MODULES . '/spin.wasm', ['wall_time' => 60, 'gas' => 1e14]);
        try {
            $plasm->result($handle, 0.2);
            self::fail('it had ended');
        } catch (TimedOut $exception) {
            self::assertSame('total', $exception->limit);
        }

        self::assertSame(JobState::Canceled, $plasm->cancel($handle)->state);
        self::assertSame(OutcomeKind::Cancelled, $plasm->result($handle, 30)->outcome->kind);
        $plasm->release($handle);
        $this->expectException(UnknownJob::class);
        $plasm->result($handle, 30);
    }

    public function testAJobIsAwaitedWhileItsStatesAreReported(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::MODULES . '/ticks.wasm');
        $states = [];

        $status = $plasm->wait($handle, 60, static function (\Plasm\JobStatus $status) use (&$states): void {
            $states[] = $status->state;
        });

        self::assertSame(JobState::Complete, $status->state);
        self::assertSame(JobState::Complete, end($states));
        self::assertContains(JobState::Running, $states);
    }

    public function testLogsOfASlowJobComeWhileItRuns(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::MODULES . '/ticks.wasm');
        $states = [];
        $heard = '';

        $verified = $plasm->logs($handle, function (string $stream, string $bytes) use (&$states, &$heard, $plasm, $handle): void {
            $states[] = $plasm->status($handle)->state;
            $heard .= $bytes;
        }, 60);

        self::assertSame(JobState::Running, $states[0]);
        self::assertSame(str_repeat("tick\n", 6), $heard);
        self::assertContains('stdout', $verified->verdict->established);
    }

    public function testAMapGivesResultsInTheOrderOfItsInputs(): void
    {
        $results = $this->plasm()->map(self::HELLO, ['one', 'two', 'three', 'four'], inFlight: 2);

        self::assertSame(['eno', 'owt', 'eerht', 'ruof'], array_map(strval(...), iterator_to_array($results, false)));
    }

    public function testALargeModuleIsSentOnceAndBytesComeWhole(): void
    {
        $path = self::web()->daemon->directory . '/large.wasm';
        LargeModule::write($path, 5 << 20);
        $bytes = random_bytes(3 << 20);

        $first = $this->plasm()->run($path, ['memory' => '128MiB']);
        $second = $this->plasm()->run($path, ['memory' => '128MiB']);
        $echo = $this->plasm()->run(self::MODULES . '/cat.wasm', ['stdin' => $bytes], timeout: 60);

        self::assertSame([true, true], [$first->ok(), $second->ok()]);
        self::assertSame(hash('sha256', $bytes), hash('sha256', (string) $echo));
    }

    public function testSubmittingOneJobTwiceIsOneJob(): void
    {
        $job = Submission::create(self::HELLO);

        $first = $this->plasm()->submit($job);
        $second = $this->plasm()->submit($job);

        self::assertSame(Handle::parse($first)->jobId, Handle::parse($second)->jobId);
        self::assertSame((string) $this->plasm()->result($first), (string) $this->plasm()->result($second));
    }

    public function testRefusalsHaveTheProtocolsReasons(): void
    {
        $unknown = $this->plasm(['token' => 'wrong']);
        foreach (['invalid' => $this->plasm(), 'unauthorized' => $unknown] as $reason => $plasm) {
            try {
                $plasm->submit("\0asm\1\0\0\0nonsense");
                self::fail("$reason: it was accepted");
            } catch (Refused $exception) {
                self::assertSame($reason, $exception->reason);
            }
        }
    }

    public function testAJobOfNobodyIsUnknown(): void
    {
        $handle = Handle::create(str_repeat('0', 64), $this->plasm()->discover()[0]->peer);
        foreach (['status', 'wait', 'result', 'cancel', 'release'] as $method) {
            try {
                $this->plasm()->$method((string) $handle);
                self::fail("$method was answered");
            } catch (UnknownJob $exception) {
                self::assertSame('not_found', $exception->reason);
            }
        }
    }

    public function testOnlyAPinnedNodeIsTalkedTo(): void
    {
        $stranger = new Client($this->options(), pinned: [self::STRANGER], retries: RetryPolicy::never());
        $own = new Client($this->options(), pinned: [$this->plasm()->discover()[0]->peer]);

        self::assertSame("cba\n", (string) $own->run(self::HELLO, ['args' => ['abc']]));
        $this->expectException(PeerMismatch::class);
        $stranger->run(self::HELLO);
    }

    public function testTheServersNodeIsKnown(): void
    {
        self::assertSame(Standing::Own, $this->plasm(require: 'known')->run(self::HELLO)->verdict->standing);
    }

    public function testOverTlsTheServersCertificateIsVerified(): void
    {
        $web = self::web()->withTls();
        if ($web === null) {
            self::markTestSkipped('no openssl makes a certificate here');
        }
        $options = ['mode' => 'http', 'url' => $web->url, 'token' => $web->token];
        $bytes = random_bytes(2 << 20);
        try {
            $trusting = new Client([...$options, 'ca_file' => "{$web->daemon->directory}/tls.crt"]);
            $echo = $trusting->run(self::MODULES . '/cat.wasm', ['stdin' => $bytes], timeout: 60);
            self::assertSame(hash('sha256', $bytes), hash('sha256', (string) $echo));
            $this->expectException(Unreachable::class);
            $this->expectExceptionMessage('certificate verify failed');
            (new Client($options, retries: RetryPolicy::never()))->run(self::HELLO);
        } finally {
            $web->stop();
        }
    }

    public function testServerAndDaemonMayRestartInBetween(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::HELLO, ['args' => ['xyz']]);
        self::web()->stop();
        self::web()->daemon->stop();
        self::web()->daemon->start();
        self::web()->start();

        self::assertSame("zyx\n", (string) $plasm->result($handle, 30));
    }

    /**
     * @dataProvider tampering
     *
     * @param class-string<\Throwable> $exception
     */
    #[DataProvider('tampering')]
    public function testWhatAProxyChangedIsRefused(string $mode, string $exception): void
    {
        $this->expectException($exception);

        $this->throughProxy($mode, static fn (Client $plasm): mixed => $plasm->run(self::HELLO, timeout: 30));
    }

    /** @return array<string, array{string, class-string<\Throwable>}> */
    public static function tampering(): array
    {
        return [
            'output' => ['output', WrongOutput::class],
            'receipt' => ['receipt', BadSignature::class],
            'job' => ['job', ProtocolError::class],
        ];
    }

    public function testABrokenConnectionLosesNoByte(): void
    {
        $bytes = random_bytes(1 << 20);

        $result = $this->throughProxy('cut', static fn (Client $plasm): mixed
            => $plasm->run(self::MODULES . '/cat.wasm', ['stdin' => $bytes], timeout: 60));

        self::assertSame(hash('sha256', $bytes), hash('sha256', (string) $result));
    }

    public function testAJobGetsFilesAndWhatItLeavesIsComparedWithTheReceipt(): void
    {
        $result = $this->plasm()->run(self::FILES, ['files' => ['in/data' => 'some'], 'outputs' => ['out/']]);

        self::assertTrue($result->ok());
        self::assertSame('some', $result->files['out/copy']->contents());
        self::assertSame(pack('V', 4), $result->files['out/sub/length']->contents());
    }

    public function testAnOutputThatIsAFileMayBeEmpty(): void
    {
        $result = $this->plasm()->run(self::FILES, ['files' => ['in/data' => ''], 'outputs' => ['out/copy']]);

        self::assertSame('', $result->files['out/copy']->contents());
    }

    public function testFilesAreSentOnceToAServerThatKeepsThem(): void
    {
        $options = ['files' => ['in/data' => random_bytes(1 << 20)], 'outputs' => ['out/']];

        $results = $this->throughProxy('once', static fn (Client $plasm): mixed => array_map(
            static fn (int $_): string => $plasm->run(self::FILES, $options)->files['out/copy']->sha256,
            [1, 2],
        ));

        self::assertSame(array_fill(0, 2, hash('sha256', $options['files']['in/data'])), $results);
    }

    public function testFilesOfAJobThatAnotherClientSubmittedAreFetched(): void
    {
        $options = ['files' => ['in/data' => 'other'], 'outputs' => ['out/copy', 'none']];
        $handle = $this->plasm()->submit(self::FILES, $options);

        $result = $this->plasm()->result($handle, 30);

        self::assertSame(['out/copy'], array_keys(iterator_to_array($result->files)));
        self::assertSame('other', $result->files['out/copy']->contents());
    }

    public function testABrokenConnectionLosesNoByteOfAFile(): void
    {
        $bytes = random_bytes(1 << 20);
        $options = ['files' => ['in/data' => $bytes], 'outputs' => ['out/']];

        $result = $this->throughProxy('cut-output', static fn (Client $plasm): mixed
            => $plasm->run(self::FILES, $options, timeout: 60));

        self::assertInstanceOf(JobResult::class, $result);
        self::assertSame(hash('sha256', $bytes), $result->files['out/copy']->sha256);
        self::assertSame($bytes, $result->files['out/copy']->contents());
    }

    /** @dataProvider changes */
    #[DataProvider('changes')]
    public function testAFileThatAProxyChangedIsRefused(string $mode, string $message): void
    {
        $this->expectException(FilesNotServed::class);
        $this->expectExceptionMessage($message);

        $this->throughProxy($mode, static fn (Client $plasm): mixed
            => $plasm->run(self::FILES, ['files' => ['in/data' => 'some'], 'outputs' => ['out/']], timeout: 30));
    }

    /** @return array<string, array{string, string}> */
    public static function changes(): array
    {
        return [
            'a byte' => ['file', 'is not the tree that the receipt states'],
            'its kind' => ['kind', 'the node has a file where its receipt states a tree'],
        ];
    }

    /** @param \Closure(Client): mixed $run */
    private function throughProxy(string $mode, \Closure $run): mixed
    {
        $port = (string) parse_url(self::web()->url, PHP_URL_PORT);
        $proxy = proc_open(
            [PHP_BINARY, __DIR__ . '/http_proxy.php', $port, $mode],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
        );
        self::assertIsResource($proxy);
        try {
            return $run($this->plasm(['url' => 'http://127.0.0.1:' . trim((string) fgets($pipes[1]))]));
        } finally {
            proc_terminate($proxy);
            proc_close($proxy);
        }
    }

    /** @param array<string, mixed> $options */
    private function plasm(array $options = [], string $require = 'signature'): Client
    {
        return new Client([...$this->options(), ...$options], require: $require);
    }

    /** @return array<string, mixed> */
    private function options(): array
    {
        return ['mode' => 'http', 'url' => self::web()->url, 'token' => self::web()->token];
    }

    private static function web(): PlasmWeb
    {
        return self::$web ?? throw new \LogicException('there is no server');
    }
}
