<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\BadSignature;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\NoDaemon;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\Unreachable;
use Plasm\Exception\UntrustedSigner;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongOutput;
use Plasm\Handle;
use Plasm\JobState;
use Plasm\OutcomeKind;
use Plasm\Submission;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Transport\LocalTransport;
use Plasm\Transport\UnixStream;

/** The client against a real daemon, over a real socket, in processes of its own. */
final class PlasmdTest extends TestCase
{
    private const HELLO = __DIR__ . '/../../../examples/hello/hello.wasm';
    private const MODULES = __DIR__ . '/modules';
    private const FILES = __DIR__ . '/../../../plasm_core/testing/modules/files.wasm';
    private const ENTRY = __DIR__ . '/../../../plasm_core/testing/modules/entry.wasm';

    private static ?Plasmd $daemon = null;

    public static function setUpBeforeClass(): void
    {
        self::$daemon = Plasmd::tryStart();
    }

    public static function tearDownAfterClass(): void
    {
        self::$daemon?->remove();
        self::$daemon = null;
    }

    protected function setUp(): void
    {
        if (self::$daemon === null) {
            self::markTestSkipped('plasmd is not installed here');
        }
    }

    public function testTheExample(): void
    {
        [$status, $output, $errors] = $this->php([__DIR__ . '/../../../examples/local_test.php']);

        self::assertSame(['', 0], [$errors, $status]);
        self::assertStringContainsString("\nOutput     dlroW ,olleH\n", $output);
        self::assertStringContainsString("\nReceipt verified ✓ signed by 12D3KooW", $output);
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testTheFirstSampleOfTheReadmeShowsSuccessAndFailureApart(string $options, int $exit, string $stdout, string $end): void
    {
        $root = dirname(__DIR__, 3);
        preg_match('/^```php\n(.*?)^```$/ms', (string) file_get_contents("$root/php/README.md"), $found);
        $sample = str_replace("['cpu' => 1]", $options, $found[1], $replaced);

        [$status, $output, $errors] = $this->php(['-r', 'chdir(' . var_export($root, true) . "); $sample"]);

        self::assertSame([1, $exit], [$replaced, $status]);
        self::assertSame($stdout, substr($output, 0, strlen("dlroW ,olleH\n")));
        self::assertStringEndsWith($end, $exit === 0 ? $output : $errors);
    }

    /** @return iterable<string, array{string, int, string, string}> */
    public static function ends(): iterable
    {
        yield 'as pasted' => ["['cpu' => 1]", 0, "dlroW ,olleH\n", "; the job exited with code 0\n"];
        yield 'out of gas' => ["['gas' => 1000]", 1, '', "; the job failed: out of gas\n"];
    }

    public function testWithoutADaemonTheExampleSaysHowToStartOne(): void
    {
        $nowhere = ['PLASM_SOCKET' => self::daemon()->directory . '/nowhere.sock'];

        [$status, , $errors] = $this->php([__DIR__ . '/../../../examples/local_test.php'], $nowhere);

        self::assertSame(1, $status);
        self::assertStringContainsString('no daemon runs here', $errors);
        self::assertStringContainsString('start one with: plasmd --detach', $errors);
    }

    public function testSubmitInOneProcessAndFetchInAnother(): void
    {
        $submit = '$plasm = new Plasm\Client(); echo $plasm->submit($argv[1], ["args" => ["abc"]]);';
        $fetch = '$result = (new Plasm\Client())->result($argv[1], 30); echo $result, "|", $result->verdict;';

        [$submitted, $handle] = $this->php(['-r', $this->loading($submit), '--', self::HELLO]);
        [$fetched, $output, $errors] = $this->php(['-r', $this->loading($fetch), '--', $handle]);

        self::assertSame([0, 0, ''], [$submitted, $fetched, $errors]);
        self::assertStringStartsWith("cba\n|Receipt verified ✓", $output);
    }

    public function testTheDaemonMayRestartInBetween(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::HELLO, ['args' => ['xyz']]);
        self::daemon()->stop();
        self::daemon()->start();

        self::assertSame("zyx\n", (string) $plasm->result($handle, 30));
    }

    public function testAJobThatNeverEndsIsCancelled(): void
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
    }

    public function testAJobThatRunsOutOfGasSaysSo(): void
    {
        $result = $this->plasm()->run(self::MODULES . '/spin.wasm', ['gas' => 1000]);

        self::assertSame(OutcomeKind::OutOfGas, $result->outcome->kind);
        self::assertSame('1000', $result->receipt->observed->gasUsed);
        self::assertFalse($result->ok());
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

    public function testAnotherHandleOpensNothing(): void
    {
        $plasm = $this->plasm();
        $handle = Handle::parse($plasm->submit(self::HELLO));
        $guessed = Handle::of($handle->jobId, random_bytes(32), $handle->peer);

        foreach (['status', 'result', 'cancel', 'release'] as $method) {
            try {
                $plasm->$method((string) $guessed);
                self::fail("$method was answered");
            } catch (UnknownJob $exception) {
                self::assertSame('unknown_job', $exception->reason);
            }
        }
    }

    public function testAReleasedJobIsGone(): void
    {
        $plasm = $this->plasm();
        $handle = $plasm->submit(self::HELLO);
        $plasm->wait($handle, 30);
        $plasm->release($handle);
        $this->expectException(UnknownJob::class);

        $plasm->result($handle, 30);
    }

    public function testSubmittingOneJobTwiceIsOneJob(): void
    {
        $job = Submission::create(self::HELLO);
        $first = $this->plasm()->submit($job);
        $second = $this->plasm()->submit($job);

        // Another secret: another owner's job, though of the same id.
        self::assertSame(Handle::parse($first)->jobId, Handle::parse($second)->jobId);
        self::assertSame((string) $this->plasm()->result($first), (string) $this->plasm()->result($second));
    }

    public function testAFileThatIsNoModuleIsRefused(): void
    {
        try {
            $this->plasm()->submit("\0asm\1\0\0\0nonsense");
            self::fail('it was accepted');
        } catch (Refused $exception) {
            self::assertSame('invalid', $exception->reason);
        }
    }

    public function testConversationsOneAfterTheOtherShareASocket(): void
    {
        $plasm = $this->plasm();
        $before = self::sessions();

        $first = $plasm->run(self::HELLO, ['stdin' => 'one']);
        $handle = $plasm->submit(self::HELLO, ['stdin' => 'two']);
        $second = $plasm->result($handle, 60);
        $plasm->status($handle);

        self::assertSame(["eno", "owt"], [$first->stdout(), $second->stdout()]);
        self::assertSame($before + 1, self::sessions());
    }

    /** Return how many streams of the job protocol the daemon has served. */
    private static function sessions(): int
    {
        $deadline = new Deadline(new SystemClock(), 10, 'test');
        $stream = UnixStream::connect(self::daemon()->socket, '/plasm/metrics/1.0.0', $deadline);
        for ($text = ''; ($bytes = $stream->read(65_536, 10)) !== '';) {
            $text .= $bytes;
        }
        $stream->close();
        self::assertSame(1, preg_match('/sessions_total (\d+)/', $text, $found));

        return (int) $found[1];
    }

    public function testDiscoverFindsTheDaemon(): void
    {
        $nodes = $this->plasm()->discover();

        self::assertCount(1, $nodes);
        self::assertSame('unix:' . self::daemon()->socket, $nodes[0]->address);
    }

    public function testUnderOpenBasedirTheClientConnectsAndWarnsOfNothing(): void
    {
        $code = PhpProcess::loading(
            'set_error_handler(static function (int $level, string $message): bool {'
            . ' if ((error_reporting() & $level) !== 0) { throw new \ErrorException($message); } return true; });'
            . 'echo (new \Plasm\Client())->run($argv[1], ["stdin" => "hello"]);'
            . '$peer = (new \Plasm\Client())->discover()[0]->peer;'
            . 'var_dump(\Plasm\Evidence::keep($peer, str_repeat("0", 64), "a test", "{}"));',
        );
        $allowed = dirname(__DIR__, 2) . PATH_SEPARATOR . dirname(self::HELLO);

        $answer = $this->php(['-d', "open_basedir=$allowed", '-r', $code, self::HELLO]);

        self::assertSame([0, "ollehNULL\n", ''], $answer);
    }

    /**
     * Hosts of many sites disable functions that tell of the machine.
     *
     * @dataProvider disabledFunctions
     */
    #[DataProvider('disabledFunctions')]
    public function testJobsRunWithoutFunctionsThatHostsDisable(string $functions, string $basedir): void
    {
        $code = PhpProcess::loading(
            '$plasm = new \Plasm\Client();'
            . 'foreach (["one", "two"] as $text) { echo $plasm->run($argv[1], ["args" => [$text]]); }',
        );
        $limits = ['-d', "disable_functions=$functions"];
        if ($basedir !== '') {
            array_push($limits, '-d', 'open_basedir=' . $basedir . PATH_SEPARATOR . dirname(self::HELLO));
        }

        $answer = $this->php([...$limits, '-r', $code, self::HELLO]);

        self::assertSame([0, "eno\nowt\n", ''], $answer);
    }

    /** @return array<string, array{string, string}> */
    public static function disabledFunctions(): array
    {
        return [
            'getmypid' => ['getmypid', ''],
            'getmypid and posix' => ['getmypid,posix_getpid,posix_geteuid,posix_getpwnam', ''],
            'and /proc' => ['getmypid,posix_getpid', dirname(__DIR__, 2)],
        ];
    }

    public function testAnotherServerIsNotTakenForADaemon(): void
    {
        $path = self::daemon()->directory . '/other.sock';
        $server = stream_socket_server("unix://$path");
        self::assertIsResource($server);
        fclose($server);
        $plasm = new Client(new LocalTransport($path), retries: \Plasm\RetryPolicy::never());
        $this->expectException(Unreachable::class);
        $this->expectExceptionMessage("no daemon answers on $path");

        $plasm->submit(self::HELLO);
    }

    public function testASocketThatIsNotThereIsNoDaemon(): void
    {
        $this->expectException(NoDaemon::class);

        (new Client(new LocalTransport('/nowhere/plasmd.sock')))->submit(self::HELLO);
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

        $this->throughProxy($mode, static fn (LocalTransport $transport): mixed
            => (new Client($transport))->run(self::HELLO, timeout: 30));
    }

    public function testABrokenConnectionLosesNoByte(): void
    {
        $bytes = random_bytes(3 << 20);

        $result = $this->throughProxy('cut', static fn (LocalTransport $transport): mixed
            => (new Client($transport))->run(self::MODULES . '/cat.wasm', ['stdin' => $bytes], timeout: 60));

        self::assertSame(hash('sha256', $bytes), hash('sha256', (string) $result));
    }

    /** @return array<string, array{string, class-string<\Throwable>}> */
    public static function tampering(): array
    {
        return [
            'output' => ['output', WrongOutput::class],
            'receipt' => ['receipt', BadSignature::class],
            "another node's receipt" => ['node', UntrustedSigner::class],
            "another job's receipt" => ['replay', WrongJob::class],
        ];
    }

    public function testAModuleOf50MegabytesNeedsNoMemoryHere(): void
    {
        $path = self::daemon()->directory . '/large.wasm';
        LargeModule::write($path, 50 << 20);
        $code = '$plasm = new Plasm\Client();'
            . '$handle = $plasm->submit($argv[1], ["memory" => "128MiB"]);'
            . 'echo $plasm->result($handle, 60)->outcome, " ", memory_get_peak_usage(true) >> 20;';

        [$status, $output, $errors] = $this->php(['-d', 'memory_limit=16M', '-r', $this->loading($code), '--', $path]);
        [$again, , ] = $this->php(['-d', 'memory_limit=16M', '-r', $this->loading($code), '--', $path]);

        self::assertSame(['', 0, 0], [$errors, $status, $again]);
        self::assertMatchesRegularExpression('/^exited with code 0 ([1-9]|1[0-6])$/', $output);
    }

    public function testFiftyMegabytesOfInputAndOutputNeedNoMemoryHere(): void
    {
        $path = self::daemon()->directory . '/input.bin';
        $input = fopen($path, 'wb');
        self::assertIsResource($input);
        for ($written = 0; $written < 50 << 20; $written += 1 << 20) {
            fwrite($input, random_bytes(1 << 20));
        }
        fclose($input);
        $code = '$result = (new Plasm\Client())->run($argv[1], ["stdin" => fopen($argv[2], "rb"), "output" => "64MiB"], timeout: 60);'
            . '$hash = hash_init("sha256"); hash_update_stream($hash, $result->stdoutStream());'
            . 'echo hash_final($hash), " ", memory_get_peak_usage(true) >> 20;';
        $arguments = ['-d', 'memory_limit=16M', '-r', $this->loading($code), '--', self::MODULES . '/cat.wasm', $path];

        [$status, $output, $errors] = $this->php($arguments);
        [$hash, $peak] = explode(' ', "$output ");

        self::assertSame(['', 0], [$errors, $status]);
        self::assertSame(hash_file('sha256', $path), $hash);
        self::assertLessThanOrEqual(16, (int) $peak);
    }

    public function testAJobReadsFilesAndLeavesFiles(): void
    {
        $place = self::daemon()->directory . '/files';
        mkdir("$place/in", recursive: true);
        $bytes = random_bytes(400_000);
        file_put_contents("$place/in/data", $bytes);
        $options = ['files' => ['in' => new \SplFileInfo("$place/in")], 'outputs' => ['out/']];
        $plasm = $this->plasm();

        $result = $plasm->run(self::FILES, $options, timeout: 60)->orFail();
        $again = $plasm->run(self::FILES, $options, timeout: 60)->orFail();
        $result->files->saveAll("$place/results");
        $result->files->save('out', "$place/out");

        self::assertSame(['out/copy', 'out/sub/length'], array_keys(iterator_to_array($result->files)));
        self::assertSame($bytes, file_get_contents("$place/results/out/copy"));
        self::assertSame($bytes, file_get_contents("$place/out/copy"));
        self::assertSame($result->receipt->asked->taskDigest, $again->receipt->asked->taskDigest);
        self::assertEquals($result->receipt->observed->files, $again->receipt->observed->files);
        self::assertContains('task', $result->verdict->established);
    }

    public function testTheSampleOfTheReadmeLeavesItsOutputs(): void
    {
        $root = dirname(__DIR__, 3);
        $place = self::daemon()->directory . '/sample';
        preg_match('/^### Files$.*?^```php\n(.*?)^```$/ms', (string) file_get_contents("$root/php/README.md"), $found);
        $sample = str_replace("'results'", var_export($place, true), $found[1], $replaced);
        $code = $this->loading('chdir(' . var_export($root, true) . "); \$plasm = new Plasm\\Client(); $sample");

        self::assertSame([1, [0, "some\n", '']], [$replaced, $this->php(['-r', $code])]);
        self::assertSame("some\n", file_get_contents("$place/copy"));
    }

    public function testPythonVerifiesWhatAJobOfPhpLeft(): void
    {
        $plasm = dirname(self::daemon()->program) . '/plasm';
        $place = self::daemon()->directory . '/verified';
        mkdir("$place/in", recursive: true);
        file_put_contents("$place/in/data", 'some words');
        $options = ['files' => ['in' => new \SplFileInfo("$place/in")], 'outputs' => ['out/']];
        $result = $this->plasm()->run(self::FILES, $options, timeout: 60);
        $result->files->save('out', "$place/out");
        file_put_contents("$place/r.json", $result->envelopeJson);
        $verify = [$plasm, 'verify', "$place/r.json", '--dir', "$place/in:in", '--out', "out/:$place/out"];

        [$status, $output] = $this->command([...$verify, '--key', (string) $result->receipt->node]);
        file_put_contents("$place/out/copy", 'other words');
        [$flipped] = $this->command([...$verify, '--key', (string) $result->receipt->node]);

        self::assertSame([0, 7], [$status, $flipped]);
        self::assertStringContainsString("input files, output 'out' as expected", $output);
    }

    public function testFilesAreFetchedInAnotherProcessAndAfterARestart(): void
    {
        $handle = $this->plasm()->submit(self::FILES, ['files' => ['in/data' => 'words'], 'outputs' => ['out/']]);
        $this->plasm()->wait($handle, 60);
        self::daemon()->stop();
        self::daemon()->start();
        $fetch = 'echo (new Plasm\Client())->result($argv[1], 30)->files["out/copy"]->contents();';

        self::assertSame([0, 'words', ''], $this->php(['-r', $this->loading($fetch), '--', $handle]));
    }

    public function testFiftyMegabytesOfFilesNeedNoMemoryHere(): void
    {
        $path = self::daemon()->directory . '/large';
        $input = fopen($path, 'wb');
        self::assertIsResource($input);
        for ($written = 0; $written < 50 << 20; $written += 1 << 20) {
            fwrite($input, random_bytes(1 << 20));
        }
        fclose($input);
        $code = '$files = ["in/data" => new SplFileInfo($argv[2])];'
            . '$result = (new Plasm\Client())->run($argv[1], ["files" => $files, "outputs" => ["out/"]], timeout: 60);'
            . '$result->files["out/copy"]->save($argv[3]); echo $result->outcome, " ", memory_get_peak_usage(true) >> 20;';
        $arguments = ['-d', 'memory_limit=16M', '-r', $this->loading($code), '--', self::FILES, $path, "$path.copy"];

        [$status, $output, $errors] = $this->php($arguments);

        self::assertSame(['', 0], [$errors, $status]);
        self::assertMatchesRegularExpression('/^exited with code 0 ([1-9]|1[0-6])$/', $output);
        self::assertSame(hash_file('sha256', $path), hash_file('sha256', "$path.copy"));
    }

    /** @dataProvider falseFiles */
    #[DataProvider('falseFiles')]
    public function testFilesThatAProxyChangedAreRefused(string $mode, string $message): void
    {
        $state = getenv('XDG_STATE_HOME');
        putenv('XDG_STATE_HOME=' . self::daemon()->directory . '/evidence');
        $this->expectException(FilesNotServed::class);
        $this->expectExceptionMessage($message);
        try {
            $this->throughProxy($mode, static fn (LocalTransport $transport): mixed => (new Client($transport))
                ->run(self::FILES, ['files' => ['in/data' => 'words'], 'outputs' => ['out/']], timeout: 30));
        } finally {
            putenv($state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$state");
        }
    }

    /** @return array<string, array{string, string}> */
    public static function falseFiles(): array
    {
        return [
            'a flipped byte' => ['contents', "'out' is not the tree that the receipt states"],
            'said to be missing' => ['missing', 'the node has nothing where its receipt states a tree'],
        ];
    }

    public function testAnEntryIsCalled(): void
    {
        $result = $this->plasm()->run(self::ENTRY, ['entry' => 'nothing'], timeout: 60);

        self::assertSame(['plasm.det/v2', 'nothing'], [$result->receipt->asked->task->profile, $result->receipt->asked->task->entry]);
        self::assertTrue($result->ok());
    }

    /**
     * @param list<string> $command
     *
     * @return array{int, string} exit status, and what it said
     */
    private function command(array $command): array
    {
        $process = proc_open(
            $command,
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]],
            $pipes,
            null,
            self::daemon()->environment(),
        );
        self::assertIsResource($process);
        $output = (string) stream_get_contents($pipes[1]);

        return [proc_close($process), $output];
    }

    private static function daemon(): Plasmd
    {
        return self::$daemon ?? throw new \LogicException('no daemon');
    }

    private function plasm(): Client
    {
        return new Client(new LocalTransport(self::daemon()->socket));
    }

    /** @param \Closure(LocalTransport): mixed $call */
    private function throughProxy(string $mode, \Closure $call): mixed
    {
        $directory = self::daemon()->directory;
        $other = "$directory/other.json";
        file_put_contents($other, $this->plasm()->run(self::HELLO)->envelopeJson);
        $listen = "$directory/proxy-$mode.sock";
        $proxy = proc_open(
            [PHP_BINARY, __DIR__ . '/proxy.php', $listen, self::daemon()->socket, $mode, $other],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', "$directory/proxy.log", 'a']],
            $pipes,
        );
        self::assertIsResource($proxy);
        try {
            self::assertSame("ready\n", fgets($pipes[1]));

            return $call(new LocalTransport($listen));
        } finally {
            proc_terminate($proxy, 9);
            proc_close($proxy);
        }
    }

    private function loading(string $code): string
    {
        return 'require ' . var_export(dirname(__DIR__, 2) . '/autoload.php', true) . "; $code";
    }

    /**
     * Run PHP in a process of its own, as a client of the daemon.
     *
     * @param list<string> $arguments
     * @param array<string, string> $environment
     *
     * @return array{int, string, string} exit status, stdout and stderr
     */
    private function php(array $arguments, array $environment = []): array
    {
        $errors = (string) tempnam(self::daemon()->directory, 'errors');
        $process = proc_open(
            [PHP_BINARY, '-d', 'error_reporting=-1', '-d', 'display_errors=stderr', ...$arguments],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', $errors, 'w']],
            $pipes,
            null,
            $environment + self::daemon()->environment(),
        );
        self::assertIsResource($process);
        $output = (string) stream_get_contents($pipes[1]);

        return [proc_close($process), $output, (string) file_get_contents($errors)];
    }
}
