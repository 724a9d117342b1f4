<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Exception\InvalidArgument;
use Plasm\Manifest;

/** Accepts a result that enough nodes agree on. */
final readonly class Quorum implements VerifierInterface
{
    /**
     * @param int $nodes how many run the job
     * @param int $agree how many must agree, more than half
     * @param bool $networks whether those of one network count as one: keys cost nothing, addresses something
     * @param float $apartS the longest pause between two nodes, so that none sees that others are asked
     */
    public function __construct(
        public int $nodes = 3,
        public int $agree = 2,
        public bool $networks = true,
        public float $apartS = 2.0,
    ) {
        if ($agree < 2 || $agree > $nodes || 2 * $agree <= $nodes) {
            throw new InvalidArgument("quorum: agree is more than half of the $nodes nodes, at least 2, and at most all");
        }
        $this->plan(null);
    }

    public function name(): string
    {
        return 'quorum';
    }

    public function plan(?Manifest $manifest): Plan
    {
        return new Plan($this->nodes, $this->networks, $this->apartS);
    }

    public function judge(array $claims): Opinion
    {
        $votes = Votes::of($claims, $this->networks);
        $whom = $this->networks ? 'networks' : 'nodes';
        $split = $votes->split($this->agree);
        if ($split === null) {
            $most = $votes->most();
            // If no node gives an answer that can be compared, more nodes do not help.
            return Opinion::undecided(
                ["$this->agree $whom must agree, and $most did"],
                $most === 0 ? 0 : $this->agree - $most,
            );
        }
        [$right, $others] = $split;
        if ($others !== []) {
            $named = implode(', ', array_map(strval(...), $others));

            return Opinion::reject(["$named: differs from " . count($right) . ' nodes that agree'], $others);
        }

        return Opinion::accept(['quorum'], ['agreed on by ' . count($right) . " nodes on {$votes->most()} $whom"], $right);
    }
}
