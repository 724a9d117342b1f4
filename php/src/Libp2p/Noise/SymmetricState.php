<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Noise;

use Plasm\Libp2p\Exception\DecryptionFailed;

/**
 * The chaining key and the hash of all that went over the wire.
 *
 * Source: The Noise Protocol Framework, revision 34, section 5.2; HKDF from section 4.3 and RFC 5869, with SHA-256.
 */
final class SymmetricState
{
    private string $hash;
    private string $chainingKey;
    private ?CipherState $cipher = null;

    public function __construct(string $protocolName)
    {
        $this->hash = strlen($protocolName) <= 32 ? str_pad($protocolName, 32, "\0") : hash('sha256', $protocolName, true);
        $this->chainingKey = $this->hash;
    }

    public function mixHash(string $data): void
    {
        $this->hash = hash('sha256', $this->hash . $data, true);
    }

    public function mixKey(string $input): void
    {
        [$this->chainingKey, $key] = self::hkdf($this->chainingKey, $input);
        $this->cipher = new CipherState($key);
    }

    public function encryptAndHash(string $plaintext): string
    {
        $ciphertext = $this->cipher?->encrypt($this->hash, $plaintext) ?? $plaintext;
        $this->mixHash($ciphertext);

        return $ciphertext;
    }

    /** @throws DecryptionFailed */
    public function decryptAndHash(string $ciphertext): string
    {
        $plaintext = $this->cipher?->decrypt($this->hash, $ciphertext) ?? $ciphertext;
        $this->mixHash($ciphertext);

        return $plaintext;
    }

    public function handshakeHash(): string
    {
        return $this->hash;
    }

    /** @return array{CipherState, CipherState} the initiator's to send with, and the responder's */
    public function split(): array
    {
        [$initiator, $responder] = self::hkdf($this->chainingKey, '');

        return [new CipherState($initiator), new CipherState($responder)];
    }

    /** @return array{string, string} two keys of 32 bytes */
    public static function hkdf(string $salt, string $input): array
    {
        $key = hash_hmac('sha256', $input, $salt, true);
        $first = hash_hmac('sha256', "\x01", $key, true);

        return [$first, hash_hmac('sha256', "$first\x02", $key, true)];
    }
}
