<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\PeerId;

/** One verifier's decision, with its reasons. */
final readonly class Opinion
{
    /**
     * @param list<string> $reasons
     * @param list<string> $established one word for each fact
     * @param list<PeerId> $checked the nodes whose claims another execution confirmed
     * @param list<PeerId> $false the nodes whose claims are false
     * @param int $more how many more executions may decide it
     */
    private function __construct(
        public Decision $decision,
        public array $reasons,
        public array $established = [],
        public array $checked = [],
        public array $false = [],
        public int $more = 0,
    ) {
    }

    /**
     * @param list<string> $established
     * @param list<string> $reasons
     * @param list<PeerId> $checked
     */
    public static function accept(array $established, array $reasons = [], array $checked = []): self
    {
        return new self(Decision::Accept, $reasons, $established, checked: $checked);
    }

    /**
     * @param non-empty-list<string> $reasons
     * @param list<PeerId> $false
     */
    public static function reject(array $reasons, array $false = []): self
    {
        return new self(Decision::Reject, $reasons, false: $false);
    }

    /** @param non-empty-list<string> $reasons */
    public static function undecided(array $reasons, int $more = 0): self
    {
        return new self(Decision::Undecided, $reasons, more: max(0, $more));
    }
}
