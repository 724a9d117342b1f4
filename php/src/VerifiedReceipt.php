<?php

declare(strict_types=1);

namespace Plasm;

/** A receipt that was found to hold, as `ReceiptVerifier` returns it. */
final readonly class VerifiedReceipt
{
    /** @param string $envelopeJson the signed bytes, to keep and to give to others for verification */
    public function __construct(public Receipt $receipt, public Verdict $verdict, public string $envelopeJson)
    {
    }
}
