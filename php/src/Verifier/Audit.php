<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Exception\InvalidArgument;
use Plasm\Manifest;

/**
 * Accepts the signature, and has another node run some of the jobs again, chosen at random when the result is there.
 *
 * The node that is audited cannot know it: the other gets an ordinary job of a fresh client. A node that no other has
 * confirmed is audited at its first job, and more rarely with each confirmation, but never below `chance`.
 */
final readonly class Audit implements VerifierInterface
{
    private const AGREE = 2;

    /** @var \Closure(): float */
    private \Closure $draw;

    /**
     * @param float $chance the least probability with which a result is audited
     * @param bool $networks whether the second node is to be on another network
     * @param float $apartS the longest pause before it is asked
     * @param (\Closure(): float)|null $draw returns a number from 0 to 1 that no node can guess; null for the system's
     */
    public function __construct(
        public float $chance = 0.05,
        public bool $networks = true,
        public float $apartS = 2.0,
        ?\Closure $draw = null,
    ) {
        if (!($chance >= 0.0 && $chance <= 1.0)) {
            throw new InvalidArgument('audit: chance is a number from 0 to 1');
        }
        $this->draw = $draw ?? static fn (): float => random_int(0, (1 << 53) - 1) / (1 << 53);
        $this->plan(null);
    }

    public function name(): string
    {
        return 'audit';
    }

    public function plan(?Manifest $manifest): Plan
    {
        return new Plan(1, $this->networks, $this->apartS);
    }

    /** Return the probability with which a node's result is audited, given what is known of the node. */
    public function probability(NodeHistory $history): float
    {
        return max($this->chance, 1.0 / (1 + $history->checked));
    }

    public function judge(array $claims): Opinion
    {
        if (count($claims) === 1) {
            return $this->begin($claims[0]);
        }
        $votes = Votes::of($claims, $this->networks);
        $split = $votes->split(self::AGREE);
        if ($split === null) {
            return Opinion::undecided(
                [$votes->differ() ? 'the nodes differ' : 'no second node has confirmed it'],
                self::AGREE - $votes->most(),
            );
        }
        [$right, $others] = $split;
        if ($others !== []) {
            $named = implode(', ', array_map(strval(...), $others));

            return Opinion::reject(["$named: differs from " . count($right) . ' nodes that agree'], $others);
        }

        return Opinion::accept(['audit'], ['audited: ' . count($right) . ' nodes agree'], $right);
    }

    private function begin(Claim $claim): Opinion
    {
        if (!$claim->isRecheckable()) {
            return Opinion::accept([], ['not audited: no other run needs to agree with it']);
        }
        $probability = $this->probability($claim->history);
        if (($this->draw)() < $probability) {
            return Opinion::undecided(['the result is audited'], 1);
        }

        return Opinion::accept([], [sprintf('not audited this time (with probability %.2f)', $probability)]);
    }
}
