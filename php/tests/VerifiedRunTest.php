<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NoNode;
use Plasm\Exception\NotEstablished;
use Plasm\Exception\ResultsDiffer;
use Plasm\Expectation;
use Plasm\Fraud\FraudProof;
use Plasm\JobResult;
use Plasm\Outcome;
use Plasm\Output\Collected;
use Plasm\ReceiptVerifier;
use Plasm\Reputation;
use Plasm\Submission;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Support\FakeClock;
use Plasm\Time\Deadline;
use Plasm\VerifiedRun;
use Plasm\Verifier\Audit;
use Plasm\Verifier\Claim;
use Plasm\Verifier\Opinion;
use Plasm\Verifier\Plan;
use Plasm\Verifier\Quorum;
use Plasm\Verifier\VerifierInterface;

/** Several nodes run one task; which of their answers a client takes, and what it remembers of those that differ. */
final class VerifiedRunTest extends TestCase
{
    private string $home;
    private string|false $state;
    private FakeClock $clock;
    private Reputation $reputation;

    /** @var list<Submission> the jobs that were given to nodes */
    private array $jobs = [];

    /** @var list<ReceiptSigner> the nodes that ran them */
    private array $nodes = [];

    /** @var list<list<string>> the networks to avoid, each time */
    private array $avoided = [];

    protected function setUp(): void
    {
        $this->state = getenv('XDG_STATE_HOME');
        $this->home = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(8));
        mkdir($this->home, 0700);
        putenv("XDG_STATE_HOME=$this->home");
        $this->clock = new FakeClock();
        $this->reputation = new Reputation();
    }

    protected function tearDown(): void
    {
        putenv($this->state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->state");
        exec('rm -rf ' . escapeshellarg($this->home));
    }

    public function testAQuorumIsOfNodesOnNetworksOfTheirOwn(): void
    {
        $result = $this->job([new Quorum()], [['a', 'true'], ['b', 'true'], ['c', 'true']]);

        self::assertContains('quorum', $result->verdict->established);
        self::assertStringContainsString('agreed on by 3 nodes on 3 networks, not re-executed', (string) $result->verdict);
        self::assertStringNotContainsString('nobody but that node', (string) $result->verdict);
        self::assertSame([[], ['a'], ['a', 'b']], $this->avoided);
        self::assertSame([], $result->fraudProofs);
    }

    public function testNoNodeSeesThatOthersAreAsked(): void
    {
        $this->job([new Quorum(apartS: 5.0)], [['a', 'true'], ['b', 'true'], ['c', 'true']]);

        $ids = array_map(static fn (Submission $job): string => $job->id(), $this->jobs);
        self::assertCount(3, array_unique($ids));
        $tasks = array_map(static fn (Submission $job): string => $job->manifest->taskDigest(), $this->jobs);
        self::assertCount(1, array_unique($tasks));
        self::assertCount(2, $this->clock->slept);
        foreach ($this->clock->slept as $pause) {
            self::assertGreaterThanOrEqual(0.0, $pause);
            self::assertLessThanOrEqual(5.0, $pause);
        }
    }

    public function testAnOddAnswerLeavesAFraudProofAndTheOthersResult(): void
    {
        $result = $this->job([new Quorum()], [['a', 'false'], ['b', 'true'], ['c', 'true']]);

        self::assertSame('true', (string) $result);
        self::assertCount(1, $result->fraudProofs);
        $proof = FraudProof::fromJson((string) file_get_contents($result->fraudProofs[0]));
        self::assertTrue($proof->compare()->differ());
        self::assertCount(3, $proof->envelopes);
        self::assertSame([], $proof->compare()->missing);
        self::assertSame(1, $this->reputation->find($this->nodes[0]->peer)->failed);
        self::assertSame($result->fraudProofs[0], $this->reputation->find($this->nodes[0]->peer)->proof);
        self::assertNull($this->reputation->find($this->nodes[0]->peer)->convictedAt, 'votes convict nobody');
        self::assertSame(1, $this->reputation->find($this->nodes[1]->peer)->checked);
    }

    public function testOneAnswerCopiedByManyKeysOfOnePrefixCountsOnce(): void
    {
        $quorum = new Quorum(nodes: 5, agree: 3);
        $claims = $this->claims([['a', 'false'], ['a', 'false'], ['a', 'false'], ['b', 'true'], ['c', 'true']]);

        self::assertSame('undecided', $quorum->judge($claims)->decision->value);
        self::assertSame(1, $quorum->judge($claims)->more);
        $claims = [...$claims, ...$this->claims([['d', 'true']])];
        $opinion = $quorum->judge($claims);
        self::assertSame('reject', $opinion->decision->value);
        self::assertCount(3, $opinion->false);
        self::assertSame('reject', (new Quorum(5, 3, networks: false))->judge($claims)->decision->value);
    }

    public function testEachNodeWhoseNetworkIsNotKnownCountsForItself(): void
    {
        $result = $this->job([new Quorum()], [[null, 'true'], [null, 'true'], [null, 'true']]);

        self::assertContains('quorum', $result->verdict->established);
    }

    public function testATieAsksFurtherNodes(): void
    {
        $answers = [['a', 'one'], ['b', 'two'], ['c', 'three'], ['d', 'two']];
        $result = $this->job([new Quorum()], $answers);

        self::assertSame('two', (string) $result);
        self::assertCount(4, $this->jobs);
    }

    public function testNodesThatAllDifferAreGivenUpAfterABoundedNumber(): void
    {
        $answers = array_map(static fn (int $n): array => ["network $n", "answer $n"], range(1, 40));
        try {
            $this->job([new Quorum()], $answers);
            self::fail('it was accepted');
        } catch (NotEstablished $exception) {
            self::assertStringContainsString('fraud proof: ', $exception->getMessage());
        }

        self::assertCount(Plan::MAX_EXECUTIONS, $this->jobs);
    }

    public function testTooFewNetworksAreNamed(): void
    {
        $this->expectException(NotEstablished::class);
        $this->expectExceptionMessage('ask for 3 nodes on networks of their own, and 2 did the job');

        $this->job([new Quorum()], [['a', 'true'], ['b', 'true']]);
    }

    public function testAJobThatNobodyCanRepeatHasNoQuorum(): void
    {
        $this->expectException(NotEstablished::class);

        $answers = [['a', 'true'], ['b', 'true'], ['c', 'true']];
        $this->job([new Quorum()], $answers, ['grants' => ['clock.real']]);
    }

    public function testANodeThatNobodyHasConfirmedIsAuditedAtItsFirstJob(): void
    {
        $result = $this->job([new Audit(draw: static fn (): float => 0.999)], [['a', 'true'], ['b', 'true']]);

        self::assertContains('audit', $result->verdict->established);
        self::assertStringContainsString('audited: 2 nodes agree', (string) $result->verdict);
        self::assertCount(2, $this->jobs);
        self::assertSame(1, $this->reputation->find($this->nodes[0]->peer)->checked);
    }

    public function testANodeThatWasConfirmedOftenIsAuditedRarely(): void
    {
        $audit = new Audit(chance: 0.05, draw: static fn (): float => 0.06);
        $node = ReceiptSigner::withFreshKey();
        for ($count = 0; $count < 40; ++$count) {
            $this->reputation->learn([$node->peer], [$node->peer]);
        }
        $result = $this->job([$audit], [['a', 'true', $node]]);

        self::assertNotContains('audit', $result->verdict->established);
        self::assertStringContainsString('not audited this time (with probability 0.05)', (string) $result->verdict);
        self::assertStringContainsString('not re-executed', (string) $result->verdict);
        $audit = new Audit(chance: 0.05, draw: static fn (): float => 0.04);
        $this->job([$audit], [['a', 'true', $node], ['b', 'true']]);
        self::assertCount(3, $this->jobs);
    }

    public function testALiarWithARecordIsCaughtByTheAuditAndLosesIt(): void
    {
        $liar = ReceiptSigner::withFreshKey();
        $this->reputation->learn([$liar->peer], [$liar->peer]);
        $audit = new Audit(draw: static fn (): float => 0.0);
        $result = $this->job([$audit], [['a', 'false', $liar], ['b', 'true'], ['c', 'true']]);

        self::assertSame('true', (string) $result);
        self::assertCount(1, $result->fraudProofs);
        self::assertSame(0, $this->reputation->find($liar->peer)->checked);
        self::assertSame(1.0, $audit->probability($this->reputation->find($liar->peer)));
    }

    public function testAnAuditCopiedWithinAPrefixConfirmsNothing(): void
    {
        $claims = $this->claims([['a', 'false'], ['a', 'false']]);

        $opinion = (new Audit(draw: static fn (): float => 0.0))->judge($claims);
        self::assertSame('undecided', $opinion->decision->value);
        self::assertSame(1, $opinion->more);
    }

    public function testARejectionThatNamesNobodyIsFinal(): void
    {
        $this->expectException(ResultsDiffer::class);

        $this->job([self::verifier(Opinion::reject(['no']))], [['a', 'true']]);
    }

    public function testSilenceIsNoAcceptance(): void
    {
        $this->expectException(NotEstablished::class);

        $verifiers = [self::verifier(Opinion::accept(['x'])), self::verifier(Opinion::undecided(['do not know']))];
        $this->job($verifiers, [['a', 'true']]);
    }

    /**
     * @dataProvider wrong
     *
     * @param \Closure(): mixed $make
     */
    #[DataProvider('wrong')]
    public function testTwoAnswersCanNeverBothHaveAQuorum(\Closure $make): void
    {
        $this->expectException(InvalidArgument::class);

        $make();
    }

    /** @return list<array{\Closure(): mixed}> */
    public static function wrong(): array
    {
        return [
            [static fn (): Quorum => new Quorum(4, 2)],
            [static fn (): Quorum => new Quorum(3, 4)],
            [static fn (): Quorum => new Quorum(2, 1)],
            [static fn (): Quorum => new Quorum(99, 60)],
            [static fn (): Audit => new Audit(chance: 1.5)],
            [static fn (): Audit => new Audit(chance: NAN)],
            [static fn (): Audit => new Audit(apartS: -1.0)],
        ];
    }

    /**
     * Run a job on nodes that give these answers in their order.
     *
     * @param non-empty-list<VerifierInterface> $verifiers
     * @param list<array{0: string|null, 1: string, 2?: ReceiptSigner}> $answers network, stdout, and the node
     * @param array<string, mixed> $options
     */
    private function job(array $verifiers, array $answers, array $options = []): JobResult
    {
        $execute = function (Submission $job, array $avoid, array $networks) use (&$answers): array {
            $this->avoided[] = $networks;
            $answer = array_shift($answers) ?? throw new NoNode('no node was found');
            $node = $answer[2] ?? ReceiptSigner::withFreshKey();
            self::assertNotContains((string) $node->peer, array_map(strval(...), $avoid));
            $this->jobs[] = $job;
            $this->nodes[] = $node;

            return [self::result($job, $node, $answer[1]), $answer[0]];
        };
        $job = Submission::create("\0asm\1\0\0\0", ['stdin' => 'input', ...$options]);
        $run = new VerifiedRun($verifiers, $this->reputation, $this->clock, $execute);

        return $run->run($job, new Deadline($this->clock, 3600.0));
    }

    /**
     * @param list<array{string, string}> $answers
     *
     * @return non-empty-list<Claim>
     */
    private function claims(array $answers): array
    {
        $job = Submission::create("\0asm\1\0\0\0");
        $claims = [];
        foreach ($answers as [$network, $stdout]) {
            $result = self::result($job, ReceiptSigner::withFreshKey(), $stdout);
            $claims[] = new Claim($result->receipt, $result->envelopeJson, $network);
        }
        assert($claims !== []);

        return $claims;
    }

    private static function result(Submission $job, ReceiptSigner $node, string $stdout): JobResult
    {
        $envelope = $node->receipt($job->manifest, Outcome::exited(0), $stdout);
        $verified = (new ReceiptVerifier())->verify($envelope, new Expectation([$node->peer], manifest: $job->manifest));
        $output = new Collected();
        $output->begin(1);
        $output->take(\Plasm\Protocol\Channel::Stdout, $stdout);

        return new JobResult($verified, $output);
    }

    private static function verifier(Opinion $opinion): VerifierInterface
    {
        return new class ($opinion) implements VerifierInterface {
            public function __construct(private readonly Opinion $opinion)
            {
            }

            public function name(): string
            {
                return 'x';
            }

            public function plan(\Plasm\Manifest $manifest): Plan
            {
                return new Plan();
            }

            public function judge(array $claims): Opinion
            {
                return $this->opinion;
            }
        };
    }
}
