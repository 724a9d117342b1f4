<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\PeerId;

/** The Ed25519 key by which this host is known to those it talks to. */
final class Identity
{
    private function __construct(public readonly PeerId $peer, private readonly string $secretKey)
    {
    }

    /** Create a fresh key, which ends with the process. */
    public static function ephemeral(): self
    {
        return self::fromSeed(random_bytes(SODIUM_CRYPTO_SIGN_SEEDBYTES));
    }

    public static function fromSeed(string $seed): self
    {
        $pair = sodium_crypto_sign_seed_keypair($seed);

        return new self(PeerId::fromPublicKey(sodium_crypto_sign_publickey($pair)), sodium_crypto_sign_secretkey($pair));
    }

    public function sign(string $message): string
    {
        return sodium_crypto_sign_detached($message, $this->secretKey);
    }

    /** @return array<string, string> */
    public function __debugInfo(): array
    {
        return ['peer' => (string) $this->peer];
    }
}
