<?php

declare(strict_types=1);

namespace Plasm;

/** A receipt that was found to hold, as `ReceiptVerifier` returns it. */
final readonly class VerifiedReceipt
{
    /** @param string $envelopeJson the bytes to keep, and to hand to others who want to check */
    public function __construct(public Receipt $receipt, public Verdict $verdict, public string $envelopeJson)
    {
    }
}
