<?php

declare(strict_types=1);

namespace Plasm\Remote;

use Plasm\PeerId;
use Plasm\Verifier\NodeHistory;

/** Orders the nodes that answered: by their failures, then by how far they are, how busy, and how well they are known. */
final readonly class Ranking
{
    /** The share of jobs that go to new nodes when others are known. */
    private const FRESH_SHARE = 0.05;

    /**
     * @param array<string, NodeHistory> $histories the histories of nodes, by PeerId
     * @param \Closure(): float $draw returns a number from 0 to 1
     */
    public function __construct(private Failures $failures, private array $histories, private \Closure $draw)
    {
    }

    public function history(PeerId $peer): NodeHistory
    {
        return $this->histories[(string) $peer] ?? new NodeHistory();
    }

    /** @return list<PeerId> nodes that fraud proofs convict */
    public function convicted(): array
    {
        $found = array_filter($this->histories, static fn (NodeHistory $node): bool => $node->convictedAt !== null);

        return array_map(PeerId::parse(...), array_keys($found));
    }

    /**
     * @param list<Candidate> $candidates
     * @param array<string, string|null> $groups the network of each node, by PeerId
     *
     * @return list<Candidate> the best first
     */
    public function order(array $candidates, array $groups): array
    {
        $rank = fn (Candidate $candidate): array => [
            $this->failed($candidate, $groups),
            $candidate->cost() + $this->history($candidate->info->peer)->doubtS(),
        ];
        usort($candidates, static fn (Candidate $a, Candidate $b): int => $rank($a) <=> $rank($b));

        return $this->orNew($candidates);
    }

    /**
     * Order nodes by their failures alone, and equal ones at random: claims to be near, idle and large then have no
     * effect.
     *
     * @param list<Candidate> $candidates
     * @param array<string, string|null> $groups as of `order`
     *
     * @return list<Candidate>
     */
    public function inRandomOrder(array $candidates, array $groups): array
    {
        $candidates = (new \Random\Randomizer())->shuffleArray($candidates);
        $rank = fn (Candidate $candidate): array => [
            $this->failed($candidate, $groups),
            $this->history($candidate->info->peer)->isOutvoted(),
        ];
        usort($candidates, static fn (Candidate $a, Candidate $b): int => $rank($a) <=> $rank($b));

        return $candidates;
    }

    /** @param array<string, string|null> $groups */
    private function failed(Candidate $candidate, array $groups): float
    {
        return $this->failures->of($candidate->info->peer, $groups[(string) $candidate->info->peer] ?? null);
    }

    /**
     * Put a new node first for a small share of jobs: otherwise no new node would get jobs.
     *
     * This applies only if others are known: otherwise all are new, and the nearest gets the job.
     *
     * @param list<Candidate> $candidates
     *
     * @return list<Candidate>
     */
    private function orNew(array $candidates): array
    {
        $histories = array_map(fn (Candidate $candidate): NodeHistory => $this->history($candidate->info->peer), $candidates);
        $known = array_filter($histories, static fn (NodeHistory $history): bool => $history->checked > 0);
        if ($known === [] || ($this->draw)() >= self::FRESH_SHARE) {
            return $candidates;
        }
        $new = array_filter(
            $candidates,
            fn (Candidate $candidate): bool => $this->history($candidate->info->peer)->isNew()
                && $this->failures->ofNode($candidate->info->peer) <= 0.0,
        );
        if ($new === []) {
            return $candidates;
        }
        $chosen = $candidates[(new \Random\Randomizer())->pickArrayKeys($new, 1)[0]];

        return [$chosen, ...array_filter($candidates, static fn (Candidate $other): bool => $other !== $chosen)];
    }
}
