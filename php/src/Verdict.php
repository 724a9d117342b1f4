<?php

declare(strict_types=1);

namespace Plasm;

/** What verification established, and no more. There is one only where it came out well. */
final readonly class Verdict implements \Stringable
{
    /**
     * @param list<string> $established such as `signature`, `job`, `task`, `stdout`
     * @param Standing|null $standing what is known of the signer; null where nobody was dialled
     * @param Outcome|null $outcome how the job ended, as the receipt says; null if the verdict is about no job
     * @param list<string> $reasons what verifiers say of it
     */
    public function __construct(
        public PeerId $signer,
        public array $established,
        public ?Standing $standing = null,
        public ?Outcome $outcome = null,
        public array $reasons = [],
    ) {
    }

    public function __toString(): string
    {
        $isConfirmed = array_intersect(['quorum', 'audit'], $this->established) !== [];
        $said = implode('', array_map(static fn (string $reason): string => ", $reason", $this->reasons));
        $words = match ($this->standing) {
            Standing::Named => ", {$this->standing->value}$said, not re-executed",
            Standing::Stranger, Standing::Convicted => ", {$this->standing->value}$said, not re-executed"
                . ($isConfirmed ? '' : ': nobody but that node has run the job'),
            Standing::Own, null => "$said, not re-executed",
        };

        return "Receipt verified ✓ signed by $this->signer$words" . match ($this->outcome?->ok()) {
            null => '',
            true => "; the job $this->outcome",
            false => "; the job failed: $this->outcome",
        };
    }

    public function of(Standing $standing): self
    {
        return new self($this->signer, $this->established, $standing, $this->outcome, $this->reasons);
    }

    /**
     * @param list<string> $established
     * @param list<string> $reasons
     */
    public function with(array $established, array $reasons): self
    {
        $all = array_values(array_unique([...$this->established, ...$established]));

        return new self($this->signer, $all, $this->standing, $this->outcome, [...$this->reasons, ...$reasons]);
    }
}
