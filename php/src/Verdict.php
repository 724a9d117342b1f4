<?php

declare(strict_types=1);

namespace Plasm;

/** What verification established, and no more. There is one only where it came out well. */
final readonly class Verdict implements \Stringable
{
    /** @param list<string> $established such as `signature`, `job`, `task`, `stdout` */
    public function __construct(public PeerId $signer, public array $established)
    {
    }

    public function __toString(): string
    {
        return "Receipt verified ✓ signed by $this->signer, not re-executed";
    }
}
