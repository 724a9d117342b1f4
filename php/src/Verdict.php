<?php

declare(strict_types=1);

namespace Plasm;

/** What verification established, and no more. There is one only where it came out well. */
final readonly class Verdict implements \Stringable
{
    /**
     * @param list<string> $established such as `signature`, `job`, `task`, `stdout`
     * @param Standing|null $standing what is known of the signer; null where nobody was dialled
     */
    public function __construct(public PeerId $signer, public array $established, public ?Standing $standing = null)
    {
    }

    public function __toString(): string
    {
        $words = match ($this->standing) {
            Standing::Named => ", {$this->standing->value}, not re-executed",
            Standing::Stranger => ", {$this->standing->value}, not re-executed: nobody but that node has run the job",
            Standing::Own, null => ', not re-executed',
        };

        return "Receipt verified ✓ signed by $this->signer$words";
    }

    public function of(Standing $standing): self
    {
        return new self($this->signer, $this->established, $standing);
    }
}
