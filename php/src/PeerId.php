<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Record\Base58;
use Plasm\Record\Ed25519;

/** The identity of a node that signs with Ed25519: a libp2p PeerId. */
final readonly class PeerId implements \Stringable
{
    /** identity multihash of 36 bytes: protobuf PublicKey{Type: Ed25519 (1), Data: 32 bytes} */
    private const PREFIX = "\x00\x24\x08\x01\x12\x20";

    private function __construct(public string $publicKey)
    {
    }

    /** @throws InvalidRecord unless it is 32 raw bytes, of a key that proves something */
    public static function fromPublicKey(string $publicKey): self
    {
        $problem = Ed25519::keyProblem($publicKey);
        if ($problem !== null) {
            throw new InvalidRecord('peer', [['', $problem]]);
        }

        return new self($publicKey);
    }

    /**
     * Read the text form, `12D3KooW…`.
     *
     * @throws InvalidRecord
     */
    public static function parse(string $text): self
    {
        if (preg_match('/\A12D3KooW[1-9A-HJ-NP-Za-km-z]{44}\z/', $text) !== 1) {
            throw new InvalidRecord('peer', [['', 'not the PeerId of an Ed25519 key (12D3KooW…)']]);
        }

        return self::fromMultihash(Base58::decode($text));
    }

    /**
     * Read the binary form, 38 bytes.
     *
     * @throws InvalidRecord
     */
    public static function fromMultihash(string $bytes): self
    {
        if (strlen($bytes) !== 38 || !str_starts_with($bytes, self::PREFIX)) {
            throw new InvalidRecord('peer', [['', 'not the PeerId of an Ed25519 key']]);
        }

        return self::fromPublicKey(substr($bytes, strlen(self::PREFIX)));
    }

    public function multihash(): string
    {
        return self::PREFIX . $this->publicKey;
    }

    public function equals(self $other): bool
    {
        return $this->publicKey === $other->publicKey;
    }

    public function __toString(): string
    {
        return Base58::encode($this->multihash());
    }
}
