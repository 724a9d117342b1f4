<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Noise;

use Plasm\Libp2p\Exception\DecryptionFailed;
use Plasm\Libp2p\Exception\HandshakeFailed;

/**
 * Noise_XX_25519_ChaChaPoly_SHA256, of either side, without any input or output.
 *
 * Source: The Noise Protocol Framework, revision 34, sections 5.3 and 7.5:
 * `-> e`, `<- e, ee, s, es`, `-> s, se`.
 */
final class HandshakeState
{
    private const PROTOCOL = 'Noise_XX_25519_ChaChaPoly_SHA256';
    private const KEY_BYTES = SODIUM_CRYPTO_SCALARMULT_BYTES;
    private const PATTERN = [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']];

    private readonly SymmetricState $symmetric;
    private readonly string $ephemeral;
    private int $step = 0;

    /** @var array{e: string, s: string} the other side's public keys received so far */
    private array $remote = ['e' => '', 's' => ''];

    /**
     * @param string $static this side's X25519 secret key
     * @param string|null $ephemeral only for tests
     */
    public function __construct(
        private readonly bool $initiator,
        private readonly string $static,
        string $prologue = '',
        ?string $ephemeral = null,
    ) {
        $this->ephemeral = $ephemeral ?? random_bytes(SODIUM_CRYPTO_SCALARMULT_SCALARBYTES);
        $this->symmetric = new SymmetricState(self::PROTOCOL);
        $this->symmetric->mixHash($prologue);
    }

    /** @throws HandshakeFailed if the other side's key is one that no honest side has */
    public function writeMessage(string $payload): string
    {
        $message = '';
        foreach ($this->turn(true) as $token) {
            if ($token === 'e') {
                $public = sodium_crypto_scalarmult_base($this->ephemeral);
                $this->symmetric->mixHash($public);
                $message .= $public;
            } elseif ($token === 's') {
                $message .= $this->symmetric->encryptAndHash(sodium_crypto_scalarmult_base($this->static));
            } else {
                $this->symmetric->mixKey($this->agree($token));
            }
        }

        return $message . $this->symmetric->encryptAndHash($payload);
    }

    /**
     * Return the payload that came with the message.
     *
     * @throws HandshakeFailed if it is cut off, tampered with, or has a key that no honest side has
     */
    public function readMessage(string $message): string
    {
        $tokens = $this->turn(false);
        try {
            foreach ($tokens as $token) {
                if ($token === 'e') {
                    $this->remote['e'] = self::cut($message, self::KEY_BYTES);
                    $this->symmetric->mixHash($this->remote['e']);
                } elseif ($token === 's') {
                    $sealed = self::cut($message, self::KEY_BYTES + CipherState::TAG_BYTES);
                    $this->remote['s'] = $this->symmetric->decryptAndHash($sealed);
                } else {
                    $this->symmetric->mixKey($this->agree($token));
                }
            }

            return $this->symmetric->decryptAndHash($message);
        } catch (DecryptionFailed $exception) {
            throw new HandshakeFailed("the handshake failed: {$exception->getMessage()}", 0, $exception);
        }
    }

    public function finished(): bool
    {
        return $this->step === count(self::PATTERN);
    }

    /** The other side's X25519 public key. */
    public function remoteStatic(): string
    {
        return $this->remote['s'];
    }

    public function handshakeHash(): string
    {
        return $this->symmetric->handshakeHash();
    }

    /** @return array{CipherState, CipherState} to send with, and to receive with */
    public function split(): array
    {
        if (!$this->finished()) {
            throw new \LogicException('the handshake is not finished');
        }
        $ciphers = $this->symmetric->split();

        return $this->initiator ? $ciphers : [$ciphers[1], $ciphers[0]];
    }

    /** @return list<string> the tokens of the next message, if it is this side's turn to do that with it */
    private function turn(bool $writing): array
    {
        $tokens = self::PATTERN[$this->step] ?? throw new \LogicException('the handshake is finished');
        if ($writing !== ($this->initiator === ($this->step % 2 === 0))) {
            throw new \LogicException('it is the other side\'s turn');
        }
        $this->step++;

        return $tokens;
    }

    /** Do the Diffie-Hellman that a token names: the initiator's key first, then the responder's. */
    private function agree(string $token): string
    {
        [$mine, $theirs] = $this->initiator ? [$token[0], $token[1]] : [$token[1], $token[0]];
        $remote = $theirs === 'e' ? $this->remote['e'] : $this->remote['s'];

        try {
            return sodium_crypto_scalarmult($mine === 'e' ? $this->ephemeral : $this->static, $remote);
        } catch (\SodiumException $exception) {
            throw new HandshakeFailed('the handshake failed: a key is of low order', 0, $exception);
        }
    }

    private static function cut(string &$message, int $count): string
    {
        if (strlen($message) < $count) {
            throw new HandshakeFailed('the handshake failed: a message is cut off');
        }
        $part = substr($message, 0, $count);
        $message = substr($message, $count);

        return $part;
    }
}
