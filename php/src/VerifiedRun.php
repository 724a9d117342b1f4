<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\NotEstablished;
use Plasm\Exception\ResultsDiffer;
use Plasm\Exception\TransportException;
use Plasm\Fraud\FraudProof;
use Plasm\Fraud\ProofFiles;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Verifier\Claim;
use Plasm\Verifier\Decision;
use Plasm\Verifier\Opinion;
use Plasm\Verifier\Plan;
use Plasm\Verifier\VerifierInterface;
use Plasm\Verifier\Votes;

/** Has as many nodes as the verifiers ask for run one task, each under another identity, and judges their receipts. */
final class VerifiedRun
{
    /** @var list<array{Claim, JobResult}> */
    private array $done = [];

    /** @var list<PeerId> nodes that have had the task */
    private array $asked = [];

    /** @var list<string> networks that have had it */
    private array $networks = [];

    /** @var list<PeerId> nodes whose claims are false */
    private array $false = [];

    /** @var list<string> */
    private array $proofs = [];

    /**
     * @param non-empty-list<VerifierInterface> $verifiers
     * @param \Closure(Submission, list<PeerId>, list<string>): array{JobResult, string|null} $execute has a job run by
     *     a node that is none of these and on none of these networks; returns the result, verified by its signature,
     *     and the node's network
     */
    public function __construct(
        private readonly array $verifiers,
        private readonly Reputation $reputation,
        private readonly ClockInterface $clock,
        private readonly \Closure $execute,
    ) {
    }

    /**
     * Run a job until the verifiers accept a result.
     *
     * @throws ResultsDiffer if nodes differ and no verifier says which are right
     * @throws NotEstablished if the verifiers cannot decide
     */
    public function run(Submission $job, Deadline $deadline): JobResult
    {
        $plans = array_map(static fn (VerifierInterface $each): Plan => $each->plan($job->manifest), $this->verifiers);
        $plan = array_reduce($plans, static fn (Plan $all, Plan $one): Plan => $all->with($one), new Plan());
        $wanted = $plan->executions;
        while (true) {
            while (count($this->done) < $wanted) {
                $this->execute($job, $plan, $wanted, $deadline);
            }
            $claims = array_column($this->done, 0);
            $opinions = array_map(static fn (VerifierInterface $each): Opinion => $each->judge($claims), $this->verifiers);
            $rejections = self::with($opinions, Decision::Reject);
            $undecided = self::with($opinions, Decision::Undecided);
            $more = $rejections === [] && $undecided !== [] ? self::more($undecided) : 0;
            if ($more > 0 && count($this->asked) + $more <= Plan::MAX_EXECUTIONS) {
                $wanted = count($this->done) + $more;
                continue;
            }
            if (Votes::of($claims, false)->differ()) {
                $this->prove($job, $claims);
            }
            if ($rejections !== []) {
                $this->drop($rejections);
                $wanted = max(1, count($this->done));
            } elseif ($undecided !== []) {
                $this->reputation->learn([], [], $this->false, end($this->proofs) ?: null);
                throw new NotEstablished('the verifiers cannot decide: ' . self::reasons($undecided) . $this->kept());
            } else {
                return $this->accepted($opinions);
            }
        }
    }

    private function execute(Submission $job, Plan $plan, int $wanted, Deadline $deadline): void
    {
        $isFirst = $this->asked === [];
        if (!$isFirst && $plan->apartS > 0.0) {
            $pause = random_int(0, (int) (1000 * $plan->apartS)) / 1000;
            $this->clock->sleep(min($pause, max(0.0, $deadline->remaining())));
        }
        try {
            // A new job id each time: nodes that exchange the jobs they get must not see one id twice.
            [$result, $network] = ($this->execute)(
                $isFirst ? $job : $job->another(),
                $this->asked,
                $plan->onNetworks ? $this->networks : [],
            );
        } catch (TransportException $exception) {
            if ($isFirst) {
                throw $exception;
            }
            $did = count($this->done);
            $where = $plan->onNetworks ? " on networks of their own" : '';
            throw new NotEstablished(
                "the verifiers ask for $wanted nodes$where, and $did did the job: {$exception->getMessage()}" . $this->kept(),
                0,
                $exception,
            );
        }
        $node = $result->receipt->node;
        $this->asked[] = $node;
        if ($network !== null) {
            $this->networks[] = $network;
        }
        $claim = new Claim($result->receipt, $result->envelopeJson, $network, $this->reputation->find($node));
        $this->done[] = [$claim, $result];
    }

    /** @param list<Claim> $claims */
    private function prove(Submission $job, array $claims): void
    {
        $settled = array_filter($claims, static fn (Claim $claim): bool => $claim->isRecheckable());
        $file = ProofFiles::keep(
            array_values(array_map(static fn (Claim $claim): Envelope => Envelope::fromJson($claim->envelopeJson), $settled)),
            FraudProof::inputsOf($job),
        );
        if ($file !== null && !in_array($file, $this->proofs, true)) {
            $this->proofs[] = $file;
        }
    }

    /**
     * Exclude the nodes whose claims verifiers found to be false.
     *
     * @param non-empty-list<Opinion> $rejections
     */
    private function drop(array $rejections): void
    {
        $false = array_merge(...array_map(static fn (Opinion $opinion): array => $opinion->false, $rejections));
        $left = array_values(array_filter(
            $this->done,
            static fn (array $done): bool => !in_array($done[0]->receipt->node, $false),
        ));
        $isNamed = array_filter($rejections, static fn (Opinion $opinion): bool => $opinion->false === []) === [];
        if (!$isNamed || $left === [] || count($left) === count($this->done)) {
            throw new ResultsDiffer([self::reasons($rejections) . $this->kept()]);
        }
        array_push($this->false, ...$false);
        $this->done = $left;
    }

    /** @param list<Opinion> $opinions all accept */
    private function accepted(array $opinions): JobResult
    {
        [, $result] = $this->done[0];
        $nodes = array_map(static fn (array $done): PeerId => $done[0]->receipt->node, $this->done);
        $checked = array_merge(...array_map(static fn (Opinion $opinion): array => $opinion->checked, $opinions));
        $confirmed = array_values(array_filter($nodes, static fn (PeerId $node): bool => in_array($node, $checked)));
        $this->reputation->learn($nodes, $confirmed, $this->false, end($this->proofs) ?: null);
        $verdict = $result->verdict->with(
            array_merge(...array_map(static fn (Opinion $opinion): array => $opinion->established, $opinions)),
            array_merge(...array_map(static fn (Opinion $opinion): array => $opinion->reasons, $opinions)),
        );

        return $result->verified($verdict, $this->proofs);
    }

    private function kept(): string
    {
        return $this->proofs === [] ? '' : ' (fraud proof: ' . implode(', ', $this->proofs) . ')';
    }

    /**
     * @param list<Opinion> $opinions
     *
     * @return list<Opinion>
     */
    private static function with(array $opinions, Decision $decision): array
    {
        return array_values(array_filter($opinions, static fn (Opinion $opinion): bool => $opinion->decision === $decision));
    }

    /** @param non-empty-list<Opinion> $undecided */
    private static function more(array $undecided): int
    {
        $asked = array_map(static fn (Opinion $opinion): int => $opinion->more, $undecided);

        return min($asked) === 0 ? 0 : max($asked);
    }

    /** @param list<Opinion> $opinions */
    private static function reasons(array $opinions): string
    {
        return implode('; ', array_merge(...array_map(static fn (Opinion $opinion): array => $opinion->reasons, $opinions)));
    }
}
