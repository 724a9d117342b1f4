<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Receipt;

/** One node's receipt as a verifier gets it: its signature is checked. */
final readonly class Claim
{
    /**
     * @param string $envelopeJson the receipt as it was signed
     * @param string|null $network what the node is counted with; null if that is not known: it counts for itself
     * @param NodeHistory $history what this user's clients have learnt of the node
     */
    public function __construct(
        public Receipt $receipt,
        public string $envelopeJson,
        public ?string $network,
        public NodeHistory $history = new NodeHistory(),
    ) {
    }

    /** Tell whether any other run of the task must agree with it. */
    public function isRecheckable(): bool
    {
        return $this->receipt->observed->reproducible && $this->receipt->observed->outcome->kind->recheckable();
    }
}
