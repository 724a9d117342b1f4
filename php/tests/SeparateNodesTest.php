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
use Plasm\PeerId;
use Plasm\Remote\AddressPolicy;
use Plasm\Remote\Directory;
use Plasm\Remote\PeerBook;
use Plasm\Reputation;
use Plasm\Standing;
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

    /** @var list<array{string, array<string, scalar>}> what the client told */
    private array $told = [];

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

    /** A pinned node is the user's word. */
    public function testAPinnedNodeThatAProofConvictsIsUsedAndTheVerdictSaysSo(): void
    {
        $only = $this->node('true');
        $peer = $only->host->identity->peer;
        (new Reputation())->convict($peer, '/proof.json');
        $verdict = $this->plasm([], pinned: [$peer])->run(self::MODULE)->verdict;

        self::assertSame(Standing::Convicted, $verdict->standing);
        self::assertStringContainsString(
            'a node that you named, though a fraud proof convicts it, not re-executed: nobody but that node',
            (string) $verdict,
        );
        self::assertContains(['convicted', ['peer' => (string) $peer]], $this->told);
        try {
            $this->plasm([], 'known', pinned: [$peer])->run(self::MODULE);
            self::fail('it is known');
        } catch (NotEstablished $exception) {
            self::assertStringContainsString('though a fraud proof convicts it', $exception->getMessage());
        }
        (new Reputation())->forget($peer);
        self::assertSame(Standing::Named, $this->plasm([], 'known', pinned: [$peer])->run(self::MODULE)->verdict->standing);
    }

    public function testANodeThatIsKnownComesFirstAndAStrangerGetsItsShare(): void
    {
        [$near, $known] = [$this->node('true', 1), $this->node('true', 2)];
        $known->record = ['load' => ['running' => 0, 'waiting' => 3, 'capacity' => 100]];
        $drawn = 0.06;
        $draw = static function () use (&$drawn): float {
            return $drawn;
        };
        $run = fn (): PeerId => $this->plasm([], draw: $draw)->run(self::MODULE)->verdict->signer;
        self::assertTrue($run()->equals($near->host->identity->peer), 'where nobody is known, the nearest');

        for ($checks = 0; $checks < 20; ++$checks) {
            (new Reputation())->learn([], [$known->host->identity->peer]);
        }
        self::assertTrue($run()->equals($known->host->identity->peer), 'a stranger counts as a second further away');
        $drawn = 0.04;
        self::assertTrue($run()->equals($near->host->identity->peer), 'one job in twenty');
        (new Reputation())->learn([], [], [$near->host->identity->peer]);
        self::assertTrue($run()->equals($known->host->identity->peer), 'a node that has failed has no share');
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

    public function testAFactThatNoVerifierEstablishesCannotBeRequired(): void
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

    /**
     * @param list<Quorum|Audit> $verifiers
     * @param list<PeerId> $pinned
     * @param (\Closure(): float)|null $draw
     */
    private function plasm(
        array $verifiers,
        string $require = 'signature',
        array $pinned = [],
        ?\Closure $draw = null,
    ): Client {
        return new Client($this->transport($draw), $pinned, verifiers: $verifiers, require: $require);
    }

    /** @param (\Closure(): float)|null $draw */
    private function transport(?\Closure $draw = null): RemoteTransport
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
            watch: function (string $what, array $facts): void {
                $this->told[] = [$what, $facts];
            },
            bootstrap: $kademlia->bootstrap,
            again: $this->transport(...),
            draw: $draw,
        );
    }
}
