<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Cache\MemoryCache;
use Plasm\Client;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NoNode;
use Plasm\Exception\NotEstablished;
use Plasm\Fraud\FraudProof;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Kademlia;
use Plasm\Remote\AddressPolicy;
use Plasm\Remote\Directory;
use Plasm\Remote\PeerBook;
use Plasm\Reputation;
use Plasm\Testing\MockTransport;
use Plasm\Tests\Support\RemoteNode;
use Plasm\Transport\RemoteTransport;
use Plasm\Verifier\Audit;
use Plasm\Verifier\Quorum;

/** A quorum and an audit over real sockets: nodes that lie are outvoted, proved against, and remembered. */
final class SeparateNodesTest extends TestCase
{
    private const MODULE = "\0asm\1\0\0\0 and more";

    private string $home;
    private string|false $state;
    private Loop $loop;

    /** @var list<RemoteNode> */
    private array $nodes = [];
    private RemoteNode $bootstrap;

    protected function setUp(): void
    {
        if (PHP_OS_FAMILY !== 'Linux') {
            self::markTestSkipped('nodes on networks of their own need all of 127.0.0.0/8, which only Linux has');
        }
        $this->state = getenv('XDG_STATE_HOME');
        $this->home = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(8));
        mkdir($this->home, 0700);
        putenv("XDG_STATE_HOME=$this->home");
        $this->loop = new Loop();
        $this->bootstrap = new RemoteNode($this->loop);
        $this->bootstrap->record = ['lends' => false];
    }

    protected function tearDown(): void
    {
        if (!isset($this->loop)) {
            return;
        }
        foreach ([$this->bootstrap, ...$this->nodes] as $node) {
            $node->host->close();
        }
        putenv($this->state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->state");
        exec('rm -rf ' . escapeshellarg($this->home));
    }

    public function testALyingNodeIsOutvotedAndTheProofNamesNobodyElse(): void
    {
        $liar = $this->node('false');
        $honest = [$this->node('true'), $this->node('true')];
        $result = $this->plasm([new Quorum(apartS: 0.0)], 'quorum')->run(self::MODULE, ['stdin' => 'input']);

        self::assertSame('true', (string) $result);
        self::assertContains('quorum', $result->verdict->established);
        self::assertCount(1, $result->fraudProofs);
        $proof = FraudProof::fromJson((string) file_get_contents($result->fraudProofs[0]))->compare();
        self::assertTrue($proof->differ());
        self::assertSame([], $proof->missing);
        $reputation = new Reputation();
        self::assertSame(1, $reputation->find($liar->host->identity->peer)->failed);
        foreach ($honest as $node) {
            self::assertSame(0, $reputation->find($node->host->identity->peer)->failed);
            self::assertSame(1, $reputation->find($node->host->identity->peer)->checked);
        }
    }

    public function testEachNodeGetsAJobOfItsOwnId(): void
    {
        $nodes = [$this->node('true'), $this->node('true'), $this->node('true')];
        $this->plasm([new Quorum(apartS: 0.0)])->run(self::MODULE);

        $jobs = [];
        foreach ($nodes as $node) {
            $jobs = [...$jobs, ...array_map(static fn (string $key): string => explode('/', $key)[0], array_keys($node->jobs->jobs))];
            self::assertCount(1, $node->jobs->jobs);
        }
        self::assertCount(3, array_unique($jobs));
    }

    public function testAnAuditByASecondNodeConfirmsTheFirst(): void
    {
        $nodes = [$this->node('true'), $this->node('true'), $this->node('true')];
        $result = $this->plasm([new Audit(apartS: 0.0)], 'audit')->run(self::MODULE);

        self::assertContains('audit', $result->verdict->established);
        $asked = array_filter($nodes, static fn (RemoteNode $node): bool => $node->jobs->jobs !== []);
        self::assertCount(2, $asked);
    }

    public function testAConvictedNodeGetsNoJobOfAnyClient(): void
    {
        $only = $this->node('true');
        (new Reputation())->convict($only->host->identity->peer, '/proof.json');
        try {
            $this->plasm([])->run(self::MODULE, ['wall_time' => 1]);
            self::fail('it was given a job');
        } catch (NoNode) {
            self::assertSame([], $only->jobs->jobs);
        }
        (new Reputation())->forget($only->host->identity->peer);

        self::assertSame('true', (string) $this->plasm([])->run(self::MODULE));
    }

    public function testTooFewNodesLeaveTheResultUnestablished(): void
    {
        $this->node('true');
        $this->node('true');
        $this->expectException(NotEstablished::class);
        $this->expectExceptionMessage('ask for 3 nodes on networks of their own, and 2 did the job');

        $this->plasm([new Quorum(apartS: 0.0)])->run(self::MODULE, ['wall_time' => 1]);
    }

    public function testManyKeysOfOneNetworkHaveOneVote(): void
    {
        $copying = [$this->node('false', 1), $this->node('false', 1), $this->node('false', 1)];
        $this->node('true', 2);
        $this->node('true', 3);
        $result = $this->plasm([new Quorum(apartS: 0.0)])->run(self::MODULE);

        self::assertSame('true', (string) $result);
        $asked = array_filter($copying, static fn (RemoteNode $node): bool => $node->jobs->jobs !== []);
        self::assertLessThanOrEqual(1, count($asked));
    }

    public function testNodesOfOnesOwnInOneNetworkCountByTheirKeys(): void
    {
        array_map(fn (): RemoteNode => $this->node('true', 1), range(1, 3));
        $result = $this->plasm([new Quorum(networks: false, apartS: 0.0)])->run(self::MODULE);

        self::assertStringContainsString('agreed on by 3 nodes', (string) $result->verdict);
        $this->expectException(NotEstablished::class);
        $this->plasm([new Quorum(apartS: 0.0)])->run(self::MODULE, ['wall_time' => 1]);
    }

    public function testVerifiersNeedNodesToChooseAmong(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('mode "remote" only');

        new Client(MockTransport::answering('x'), verifiers: [new Quorum()]);
    }

    public function testWhatNoVerifierEstablishesCannotBeRequired(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('"signature" and "known" and "audit" only');

        $this->plasm([new Audit()], 'quorum');
    }

    private function node(string $stdout, ?int $network = null): RemoteNode
    {
        // Each in a /24 of its own, unless the test says otherwise.
        $network ??= count($this->nodes) + 1;
        $this->nodes[] = $node = new RemoteNode($this->loop, "127.0.$network.1");
        $node->jobs->stdout = $stdout;
        $this->bootstrap->providers[] = $node->info();

        return $node;
    }

    /** @param list<Quorum|Audit> $verifiers */
    private function plasm(array $verifiers, string $require = 'signature'): Client
    {
        return new Client($this->transport(), verifiers: $verifiers, require: $require);
    }

    private function transport(): RemoteTransport
    {
        $host = new Host(loop: $this->loop);
        $connections = new Connections($host);
        $kademlia = new Kademlia\Client(
            $host,
            [$this->bootstrap->host->address()],
            patienceS: 1.0,
            dialPrivate: true,
            connections: $connections,
        );

        return new RemoteTransport(
            $host,
            new Directory($kademlia, $this->loop, new AddressPolicy(true)),
            $connections,
            new PeerBook(new MemoryCache(), 'test'),
            publicOnly: false,
            again: $this->transport(...),
        );
    }
}
