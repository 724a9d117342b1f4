<?php

declare(strict_types=1);

namespace Plasm;

/** The facts that a successful verification established. */
final readonly class Verdict implements \Stringable
{
    /**
     * @param list<string> $established such as `signature`, `job`, `task`, `stdout`
     * @param Standing|null $standing the signer's relation to the user; null if no node was dialled
     * @param Outcome|null $outcome the job's outcome in the receipt; null if the verdict is about no job
     * @param list<string> $reasons the verifiers' explanations
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
