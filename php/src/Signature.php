<?php

declare(strict_types=1);

namespace Plasm;

/** One signature of an envelope. `$keyId` is a hint to the key and is never trusted. */
final readonly class Signature
{
    /** @param string $bytes 64 raw bytes for Ed25519 */
    public function __construct(public string $keyId, public string $bytes)
    {
    }
}
