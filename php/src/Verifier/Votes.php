<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Fraud\Comparison;
use Plasm\PeerId;

/** The answers that claims give, and how many networks give each: what many keys of one prefix say counts once. */
final readonly class Votes
{
    /** @param array<string, non-empty-list<Claim>> $answers the claims that can be re-checked, by their observables */
    private function __construct(private array $answers, private bool $byNetwork)
    {
    }

    /** @param list<Claim> $claims */
    public static function of(array $claims, bool $byNetwork): self
    {
        $answers = [];
        foreach ($claims as $claim) {
            if ($claim->isRecheckable()) {
                $answers[Comparison::observables($claim->receipt)][] = $claim;
            }
        }

        return new self($answers, $byNetwork);
    }

    /** Return the most votes that one answer has. */
    public function most(): int
    {
        return max([0, ...array_map($this->count(...), array_values($this->answers))]);
    }

    /** Tell whether there are different answers. */
    public function differ(): bool
    {
        return count($this->answers) > 1;
    }

    /**
     * Return the nodes with the answer that has at least so many votes, and those with others; null if none has.
     *
     * @return array{list<PeerId>, list<PeerId>}|null
     */
    public function split(int $agree): ?array
    {
        $right = null;
        $others = [];
        foreach ($this->answers as $claims) {
            $nodes = array_map(static fn (Claim $claim): PeerId => $claim->receipt->node, $claims);
            if ($right === null && $this->count($claims) >= $agree) {
                $right = $nodes;
            } else {
                array_push($others, ...$nodes);
            }
        }

        return $right === null ? null : [$right, $others];
    }

    /** @param list<Claim> $claims */
    private function count(array $claims): int
    {
        $voters = array_map(
            fn (Claim $claim): string => $this->byNetwork && $claim->network !== null
                ? "network $claim->network"
                : "node {$claim->receipt->node}",
            $claims,
        );

        return count(array_unique($voters));
    }
}
