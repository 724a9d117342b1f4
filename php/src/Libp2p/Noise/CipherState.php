<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Noise;

use Plasm\Libp2p\Exception\DecryptionFailed;

/**
 * A key and the number of messages it has seen.
 *
 * Source: The Noise Protocol Framework, revision 34, section 5.1; ChaChaPoly from section 12.3 and RFC 8439.
 */
final class CipherState
{
    public const TAG_BYTES = SODIUM_CRYPTO_AEAD_CHACHA20POLY1305_IETF_ABYTES;

    /** @param int $nonce how many messages the key has seen already */
    public function __construct(private readonly string $key, private int $nonce = 0)
    {
    }

    public function encrypt(string $associated, string $plaintext): string
    {
        return sodium_crypto_aead_chacha20poly1305_ietf_encrypt($plaintext, $associated, $this->nextNonce(), $this->key);
    }

    /** @throws DecryptionFailed */
    public function decrypt(string $associated, string $ciphertext): string
    {
        $nonce = $this->nextNonce();
        $plaintext = sodium_crypto_aead_chacha20poly1305_ietf_decrypt($ciphertext, $associated, $nonce, $this->key);
        if ($plaintext === false) {
            throw new DecryptionFailed('a message does not authenticate');
        }

        return $plaintext;
    }

    private function nextNonce(): string
    {
        if ($this->nonce === PHP_INT_MAX) {
            throw new \OverflowException('a key has been used for too many messages');
        }

        return "\0\0\0\0" . pack('P', $this->nonce++);
    }
}
