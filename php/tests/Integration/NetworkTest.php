<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Envelope;
use Plasm\Exception\NoNode;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\TimedOut;
use Plasm\Fraud\FraudProof;
use Plasm\Fraud\ProofFiles;
use Plasm\Handle;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Protobuf;
use Plasm\Node;
use Plasm\Outcome;
use Plasm\PeerId;
use Plasm\Remote\NodeClass;
use Plasm\Reputation;
use Plasm\RetryPolicy;
use Plasm\Submission;
use Plasm\Testing\ReceiptSigner;
use Plasm\Time\Deadline;
use Plasm\Verifier\Quorum;

/** The client against real nodes that it finds in their DHT. */
final class NetworkTest extends TestCase
{
    private const EXAMPLE = __DIR__ . '/../../../examples/remote_test.php';
    private const HELLO = __DIR__ . '/../../../examples/hello/hello.wasm';
    private const MODULES = __DIR__ . '/modules';
    private const FILES = __DIR__ . '/../../../plasm_core/testing/modules/files.wasm';
    private const WORKERS = 2;
    private const DEADLINE_S = 60.0;

    /** A class of the workers that no other test looks for. */
    private const PESTERED = 'engine/wasmtime';

    /** What a server of the DHT is told of a provider (libp2p specification, kad-dht, "RPC messages"). */
    private const ADD_PROVIDER = 2;

    private static ?Network $network = null;

    private string $directory;

    public static function setUpBeforeClass(): void
    {
        self::$network = Network::tryStart(self::WORKERS, hasGateway: true);
        if (self::$network !== null) {
            self::awaitListed(self::WORKERS);
        }
    }

    public static function tearDownAfterClass(): void
    {
        self::$network?->close();
        self::$network = null;
    }

    protected function setUp(): void
    {
        if (self::$network === null) {
            self::markTestSkipped('no Python with libp2p: pip install libp2p==0.8.1, or name one in PLASM_TEST_PYTHON');
        }
        $this->directory = sys_get_temp_dir() . '/plasm-php-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
    }

    protected function tearDown(): void
    {
        if (isset($this->directory)) {
            exec('rm -rf ' . escapeshellarg($this->directory));
        }
    }

    public function testTheExample(): void
    {
        [$status, $output, $errors] = $this->php([self::EXAMPLE, self::network()->bootstrap()]);
        [, $again] = $this->php([self::EXAMPLE, self::network()->bootstrap()]);

        self::assertSame(['', 0], [$errors, $status]);
        self::assertMatchesRegularExpression('/ Searching .* Found .* Accepted .* Sent .* State +COMPLETE/s', $output);
        self::assertStringContainsString("  Output     dlroW ,olleH\n", $output);
        self::assertStringContainsString("\nReceipt verified ✓ signed by 12D3KooW", $output);
        self::assertStringContainsString('remembered from the last time', $again);
        self::assertStringNotContainsString('Searching', $again);
        self::assertStringContainsString("\nReceipt verified ✓ signed by 12D3KooW", $again);
    }

    public function testRealNodesAgreeAndPythonConvictsWhomThePhpClientHasAProofAgainst(): void
    {
        $plasm = dirname(__DIR__, 3) . '/.venv/bin/plasm';
        if (!is_executable($plasm)) {
            self::markTestSkipped("no $plasm to judge the proof");
        }
        $state = getenv('XDG_STATE_HOME');
        putenv("XDG_STATE_HOME=$this->directory");
        try {
            $client = new Client(
                ['mode' => 'remote', 'bootstrap' => [self::network()->bootstrap()], 'cache' => false],
                require: 'quorum',
                verifiers: [new Quorum(nodes: 2, agree: 2, networks: false, apartS: 0.0)],
            );
            $job = Submission::create(self::HELLO, ['args' => ['words']]);
            $result = $client->run($job);
            $liar = ReceiptSigner::withFreshKey();
            $false = $liar->receipt($job->manifest, Outcome::exited(0), 'sdrow');
            $envelopes = array_map(Envelope::fromJson(...), [$result->envelopeJson, $false]);
            $file = ProofFiles::keep($envelopes, FraudProof::inputsOf($job));
        } finally {
            putenv($state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$state");
        }

        self::assertStringContainsString('agreed on by 2 nodes', (string) $result->verdict);
        self::assertNotNull($file);
        $homes = "XDG_STATE_HOME=$this->directory/s XDG_CACHE_HOME=$this->directory/c XDG_CONFIG_HOME=$this->directory/e";
        exec("$homes " . escapeshellarg($plasm) . ' verify --fraud --json ' . escapeshellarg($file), $lines, $status);
        $found = json_decode(implode("\n", $lines), true);
        self::assertSame(0, $status);
        self::assertSame([(string) $liar->peer], array_column($found['convicted'], 'node'));
        self::assertSame([(string) $result->receipt->node], $found['cleared']);
    }

    public function testABootstrapThatIsNotThereIsNamed(): void
    {
        $nowhere = '/ip4/127.0.0.1/tcp/1/p2p/' . self::network()->peer('bootstrap');

        [$status, , $errors] = $this->php([self::EXAMPLE, $nowhere]);

        self::assertSame(1, $status);
        self::assertStringContainsString('no node of the DHT answered', $errors);
        self::assertStringContainsString('is the address of the bootstrap node right?', $errors);
    }

    public function testThoseThatLendAreFoundWithWhatTheyCan(): void
    {
        $nodes = $this->plasm()->discover();

        $found = array_map(static fn (Node $node): string => (string) $node->peer, $nodes);
        sort($found);
        $workers = [self::network()->peer('worker0'), self::network()->peer('worker1')];
        sort($workers);
        self::assertSame($workers, $found);
        self::assertSame('wasmtime', $nodes[0]->capabilities?->engines[0]->name);
        self::assertTrue($nodes[0]->capabilities->lends);
        self::assertStringEndsWith((string) $nodes[0]->peer, $nodes[0]->address);
    }

    public function testAJobIsFetchedByAnotherProcessWithAndWithoutACache(): void
    {
        $new = '$plasm = new Plasm\Client(["mode" => "remote", "bootstrap" => $argv[1], "cache" => $argv[3]]);';
        $fetch = "$new \$result = \$plasm->result(\$argv[2], 30); echo \$result, '|', \$result->verdict;";
        $submit = "$new echo \$plasm->submit(\$argv[2], ['args' => ['abc']]);";
        $bootstrap = self::network()->bootstrap();

        [$submitted, $handle] = $this->php(['-r', $submit, '--', $bootstrap, self::HELLO, "$this->directory/a"]);
        [$cached, $output] = $this->php(['-r', $fetch, '--', $bootstrap, $handle, "$this->directory/a"]);
        [$located, $again, $errors] = $this->php(['-r', $fetch, '--', $bootstrap, $handle, "$this->directory/b"]);

        self::assertSame(['', 0, 0, 0], [$errors, $submitted, $cached, $located]);
        $verdict = 'Receipt verified ✓ signed by ' . Handle::parse($handle)->peer
            . ', a node that you do not know, not re-executed: nobody but that node has run the job; the job exited with code 0';
        self::assertSame("cba\n|$verdict", $output);
        self::assertSame($output, $again);
    }

    public function testJobsOfOneClientRunConcurrentlyOnTheNodesOfANetwork(): void
    {
        $inputs = [];
        for ($number = 0; $number < 24; ++$number) {
            $inputs["number $number"] = "value $number";
        }
        $signers = $outputs = [];
        foreach ($this->plasm()->map(self::HELLO, $inputs, inFlight: 6) as $key => $result) {
            $signers[(string) $result->verdict->signer] = true;
            $outputs[$key] = (string) $result;
        }

        self::assertSame(array_map('strrev', $inputs), $outputs);
        $workers = [self::network()->peer('worker0'), self::network()->peer('worker1')];
        self::assertSame([], array_diff(array_keys($signers), $workers));
    }

    public function testANodeThatIsKilledWithAJobIsReplaced(): void
    {
        $network = self::network();
        $doomed = $network->extended('doomed');
        try {
            $code = '$plasm = new Plasm\Client(["mode" => "remote", "bootstrap" => $argv[1]],'
                . ' pinned: [$argv[3], $argv[4]], timeouts: new Plasm\Timeouts(patienceS: 0.5));'
                . 'echo $plasm->run($argv[2], ["gas" => 3e9, "wall_time" => 300], timeout: 80)->verdict->signer;';
            $arguments = [$network->bootstrap(), self::MODULES . '/spin.wasm', $doomed->peer('doomed0'), $network->peer('worker0')];

            $running = PhpProcess::start(['-r', PhpProcess::loading($code), '--', ...$arguments], $this->directory);
            for ($end = microtime(true) + self::DEADLINE_S; $doomed->accepted('doomed0') === 0; usleep(5_000)) {
                self::assertLessThan($end, microtime(true), 'the job did not come');
            }
            $doomed->signal('doomed0', SIGKILL);
            [$status, $output, $errors] = $running->wait();
        } finally {
            $doomed->close();
        }

        self::assertSame(['', 0, $network->peer('worker0')], [$errors, $status, $output]);
    }

    public function testANodeThatStallsWithAJobIsReplaced(): void
    {
        $network = self::network();
        $pinned = [$network->peer('worker1'), $network->peer('worker0')];
        $code = '$plasm = new Plasm\Client(["mode" => "remote", "bootstrap" => $argv[1]],'
            . ' pinned: [$argv[3], $argv[4]], timeouts: new Plasm\Timeouts(connectS: 3, idleS: 4, patienceS: 1));'
            . 'echo $plasm->run($argv[2], ["wall_time" => 300], timeout: 80)->verdict->signer;';
        $before = $network->accepted('worker1');

        $arguments = [$network->bootstrap(), self::MODULES . '/ticks.wasm', ...$pinned];
        $running = PhpProcess::start(['-r', PhpProcess::loading($code), '--', ...$arguments], $this->directory);
        try {
            for ($end = microtime(true) + self::DEADLINE_S; $network->accepted('worker1') === $before; usleep(5_000)) {
                self::assertLessThan($end, microtime(true), 'the job did not come');
            }
            $network->signal('worker1', SIGSTOP);
            [$status, $output, $errors] = $running->wait();
        } finally {
            $network->signal('worker1', SIGCONT);
        }

        self::assertSame(['', 0, $network->peer('worker0')], [$errors, $status, $output]);
    }

    public function testMostOfThoseThatAreListedMayBeDead(): void
    {
        $stalling = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($stalling);
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($stalling, false), ':'), 1);
        foreach ([1, 1, 1, $port, $port, $port] as $dead) {
            $this->list($dead);
        }
        $lost = 0;
        $watch = static function (string $what) use (&$lost): void {
            $lost += (int) ($what === 'lost');
        };
        $began = microtime(true);

        $result = $this->plasm(['watch' => $watch, 'node_class' => self::PESTERED])->run(self::HELLO, ['args' => ['abc']], timeout: 30);

        self::assertSame("cba\n", (string) $result);
        self::assertLessThan(30, microtime(true) - $began);
        $found = $this->plasm(['watch' => $watch, 'node_class' => self::PESTERED])->discover();
        self::assertCount(self::WORKERS, $found);
        self::assertGreaterThanOrEqual(6, $lost);
        fclose($stalling);
    }

    public function testTheTotalDeadlineHolds(): void
    {
        $plasm = $this->plasm();
        $began = microtime(true);
        try {
            $plasm->run(self::MODULES . '/spin.wasm', ['gas' => 1e13, 'wall_time' => 5], timeout: 1.5);
            self::fail('it had ended');
        } catch (TimedOut $exception) {
            self::assertSame('total', $exception->limit);
        }
        self::assertLessThan(4, microtime(true) - $began);
    }

    public function testAnotherPeersAddressIsRefused(): void
    {
        $address = (string) preg_replace('#/p2p/.*#', '/p2p/' . self::network()->peer('worker0'), self::network()->bootstrap());
        $plasm = $this->plasm(['bootstrap' => $address]);
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage('answered');

        $plasm->run(self::HELLO, timeout: 20);
    }

    public function testAHandleOfANodeThatNobodyKnows(): void
    {
        $handle = Handle::create(hash('sha256', ''), PeerId::fromPublicKey(random_bytes(32)));
        $options = ['mode' => 'remote', 'bootstrap' => self::network()->bootstrap(), 'cache' => false];
        $plasm = new Client($options, retries: RetryPolicy::never());
        $this->expectExceptionMessage("no address of the node $handle->peer is known");

        $plasm->status((string) $handle);
    }

    public function testAGrantThatNoNodeHasIsReportedAtOnce(): void
    {
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage('cpu 1024, of which it gives');

        $this->plasm()->run(self::HELLO, ['cpu' => 1024], timeout: 30);
    }

    public function testTheLocalDaemonForwardsJobs(): void
    {
        $socket = self::network()->nodes['gateway']['home'] . '/s';
        $plasm = new Client(['mode' => 'gateway', 'socket' => $socket]);

        $handle = $plasm->submit(self::HELLO, ['args' => ['abc']]);
        $result = (new Client(['mode' => 'gateway', 'socket' => $socket]))->result($handle, 60);

        self::assertSame("cba\n", (string) $result);
        self::assertSame(self::network()->peer('gateway'), (string) Handle::parse($handle)->peer);
        $workers = [self::network()->peer('worker0'), self::network()->peer('worker1')];
        self::assertContains((string) $result->verdict->signer, $workers);
    }

    public function testFilesGoToARealNodeAndComeBack(): void
    {
        $bytes = random_bytes(400_000);
        $options = ['files' => ['in/data' => $bytes], 'outputs' => ['out/']];
        $plasm = $this->plasm();

        $result = $plasm->run(self::FILES, $options, timeout: self::DEADLINE_S)->orFail();
        $result->files->saveAll("$this->directory/results");
        $mapped = [];
        foreach ($plasm->map(self::FILES, ['one', 'two', 'three'], $options, timeout: self::DEADLINE_S) as $key => $each) {
            $mapped[$key] = $each->files['out/copy']->contents() === $bytes;
        }

        self::assertSame($bytes, file_get_contents("$this->directory/results/out/copy"));
        self::assertSame([true, true, true], $mapped);
        self::assertContains((string) $result->receipt->node, [self::network()->peer('worker0'), self::network()->peer('worker1')]);
    }

    public function testTwoRealNodesAgreeOnTheFilesThatTheyLeave(): void
    {
        $client = new Client(
            ['mode' => 'remote', 'bootstrap' => [self::network()->bootstrap()], 'cache' => false],
            require: 'quorum',
            verifiers: [new Quorum(nodes: 2, agree: 2, networks: false, apartS: 0.0)],
            reputation: new Reputation($this->directory),
        );

        $result = $client->run(self::FILES, ['files' => ['in/data' => 'words'], 'outputs' => ['out/']], timeout: self::DEADLINE_S);

        self::assertSame('words', $result->files['out/copy']->contents());
        self::assertStringContainsString('agreed on by 2 nodes', (string) $result->verdict);
    }

    public function testTheLocalDaemonForwardsJobsWithFiles(): void
    {
        $socket = self::network()->nodes['gateway']['home'] . '/s';
        $plasm = new Client(['mode' => 'gateway', 'socket' => $socket]);

        $result = $plasm->run(self::FILES, ['files' => ['in/data' => 'words'], 'outputs' => ['out/']], timeout: self::DEADLINE_S);

        self::assertSame('words', $result->files['out/copy']->contents());
        self::assertNotSame(self::network()->peer('gateway'), (string) $result->receipt->node);
    }

    public function testFiftyMegabytesEachWayNeedNoMemoryHere(): void
    {
        $module = "$this->directory/large.wasm";
        LargeModule::write($module, 50 << 20);
        $input = "$this->directory/input.bin";
        LargeModule::write($input, 50 << 20);
        $new = '$plasm = new Plasm\Client(["mode" => "remote", "bootstrap" => $argv[1]]);';
        $upload = "$new echo \$plasm->run(\$argv[2], ['memory' => '128MiB'], timeout: 80)->outcome,"
            . ' " ", memory_get_peak_usage(true) >> 20;';
        $both = "$new \$result = \$plasm->run(\$argv[2], ['stdin' => fopen(\$argv[3], 'rb'), 'output' => '64MiB'], timeout: 80);"
            . '$hash = hash_init("sha256"); hash_update_stream($hash, $result->stdoutStream());'
            . 'echo hash_final($hash), " ", memory_get_peak_usage(true) >> 20;';
        $bootstrap = self::network()->bootstrap();

        [$status, $output, $errors] = $this->php(['-d', 'memory_limit=24M', '-r', $upload, '--', $bootstrap, $module]);
        self::assertSame(['', 0], [$errors, $status]);
        self::assertMatchesRegularExpression('/^exited with code 0 \d+$/', $output);

        $cat = self::MODULES . '/cat.wasm';
        [$status, $output, $errors] = $this->php(['-d', 'memory_limit=24M', '-r', $both, '--', $bootstrap, $cat, $input]);
        self::assertSame(['', 0], [$errors, $status]);
        self::assertStringStartsWith(hash_file('sha256', $input) . ' ', $output);
    }

    /** Wait until so many are listed: nodes advertise in their own time. */
    private static function awaitListed(int $count): void
    {
        $plasm = new Client(['mode' => 'remote', 'bootstrap' => self::network()->bootstrap(), 'cache' => false]);
        $end = microtime(true) + self::DEADLINE_S;
        do {
            try {
                $found = count($plasm->discover());
            } catch (NoNode) {
                $found = 0;
            }
            if (microtime(true) > $end) {
                throw new \RuntimeException("$found of $count workers are listed");
            }
        } while ($found < $count);
    }

    /** List a peer that nobody is behind, as dead nodes stay listed for long. */
    private function list(int $port): void
    {
        $host = new Host();
        $deadline = Deadline::after(20);
        $connection = $host->dial(Multiaddr::parse(self::network()->bootstrap()), $deadline);
        $stream = $connection->openStream('/phase/kad/1.0.0', $deadline);
        $provider = Protobuf::bytes(1, $host->peer()->multihash())
            . Protobuf::bytes(2, Multiaddr::parse("/ip4/127.0.0.1/tcp/$port")->toBytes());
        foreach ((new NodeClass(self::PESTERED))->shuffledKeys() as $key) {
            $message = Protobuf::number(1, self::ADD_PROVIDER) . Protobuf::bytes(2, $key) . Protobuf::bytes(9, $provider);
            $stream->write(Framing::frame($message), $deadline);
        }
        // A question is answered once what was said before it has been heard.
        $stream->write(Framing::frame(Protobuf::number(1, 4) . Protobuf::bytes(2, $host->peer()->multihash())), $deadline);
        Framing::readMessage($stream, 1 << 18, $deadline);
        $host->close();
    }

    private static function network(): Network
    {
        return self::$network ?? throw new \LogicException('no network');
    }

    /** @param array<string, mixed> $options */
    private function plasm(array $options = []): Client
    {
        return new Client($options + ['mode' => 'remote', 'bootstrap' => self::network()->bootstrap(), 'cache' => false]);
    }

    /**
     * @param list<string> $arguments
     *
     * @return array{int, string, string} exit status, stdout and stderr
     */
    private function php(array $arguments): array
    {
        $code = array_search('-r', $arguments, true);
        if ($code !== false) {
            $arguments[$code + 1] = PhpProcess::loading($arguments[$code + 1]);
        }

        return PhpProcess::start($arguments, $this->directory)->wait();
    }
}
