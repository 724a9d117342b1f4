<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Noise;

use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\DecryptionFailed;
use Plasm\Libp2p\Exception\HandshakeFailed;
use Plasm\Libp2p\Exception\WrongPeer;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Buffer;
use Plasm\Libp2p\Io\ChannelInterface;
use Plasm\Libp2p\Io\Framing;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/**
 * An encrypted channel whose other side has proved its PeerId.
 *
 * Source: libp2p specification, noise-libp2p, "Wire Format".
 */
final class SecureChannel implements ChannelInterface
{
    public const PROTOCOL = '/noise';

    /** A message is at most 65,535 bytes, its tag included. */
    public const MAX_PLAINTEXT_BYTES = 65535 - CipherState::TAG_BYTES;

    private const PREFIX_BYTES = 2;

    private readonly Buffer $sealed;
    private readonly Buffer $plain;
    private bool $ended = false;

    private function __construct(
        private readonly ChannelInterface $channel,
        public readonly PeerId $remotePeer,
        private readonly CipherState $sending,
        private readonly CipherState $receiving,
    ) {
        $this->sealed = new Buffer();
        $this->plain = new Buffer();
    }

    /**
     * Shake hands as the side that dialled.
     *
     * @throws WrongPeer if it is not `$expected` that answers
     * @throws HandshakeFailed
     */
    public static function initiate(
        ChannelInterface $channel,
        Identity $identity,
        PeerId $expected,
        Deadline $deadline,
    ): self {
        $static = random_bytes(SODIUM_CRYPTO_SCALARMULT_SCALARBYTES);
        $state = new HandshakeState(true, $static);
        self::send($channel, $state->writeMessage(''), $deadline);
        $payload = $state->readMessage(self::receive($channel, $deadline));
        $peer = HandshakePayload::verify($payload, $state->remoteStatic());
        if (!$peer->equals($expected)) {
            throw new WrongPeer($expected, $peer);
        }
        self::send(
            $channel,
            $state->writeMessage(HandshakePayload::sign($identity, sodium_crypto_scalarmult_base($static))),
            $deadline,
        );

        return new self($channel, $peer, ...$state->split());
    }

    /**
     * Shake hands as the side that was dialled.
     *
     * @throws HandshakeFailed
     */
    public static function respond(ChannelInterface $channel, Identity $identity, Deadline $deadline): self
    {
        $static = random_bytes(SODIUM_CRYPTO_SCALARMULT_SCALARBYTES);
        $state = new HandshakeState(false, $static);
        $state->readMessage(self::receive($channel, $deadline));
        self::send(
            $channel,
            $state->writeMessage(HandshakePayload::sign($identity, sodium_crypto_scalarmult_base($static))),
            $deadline,
        );
        $payload = $state->readMessage(self::receive($channel, $deadline));

        return new self($channel, HandshakePayload::verify($payload, $state->remoteStatic()), ...$state->split());
    }

    public function read(int $max, Deadline $deadline): string
    {
        while (($bytes = $this->plain->take($max)) === '' && !$this->ended) {
            if ($deadline->hasPassed()) {
                throw new DeadlinePassed('bytes from the peer');
            }
            if (!$this->unseal()) {
                $this->fill($this->channel->read($this->wanted(), $deadline));
            }
        }

        return $bytes;
    }

    public function tryRead(int $max): ?string
    {
        $bytes = $this->ended ? null : $this->channel->tryRead($max);
        if ($bytes !== null) {
            $this->fill($bytes);
            while ($this->unseal()) {
            }
        }
        if ($this->plain->length() > 0) {
            return $this->plain->take(PHP_INT_MAX);
        }

        return $this->ended ? '' : null;
    }

    public function write(string $bytes, Deadline $deadline): void
    {
        for ($offset = 0; $offset < strlen($bytes); $offset += self::MAX_PLAINTEXT_BYTES) {
            // Sealed messages have to be sent in their order: there is no waiting behind the seal.
            $this->channel->drain($deadline);
            $this->channel->post($this->seal(substr($bytes, $offset, self::MAX_PLAINTEXT_BYTES)));
        }
    }

    public function drain(Deadline $deadline): void
    {
        $this->channel->drain($deadline);
    }

    public function post(string $bytes): void
    {
        for ($offset = 0; $offset < strlen($bytes); $offset += self::MAX_PLAINTEXT_BYTES) {
            $this->channel->post($this->seal(substr($bytes, $offset, self::MAX_PLAINTEXT_BYTES)));
        }
    }

    public function onReadable(?\Closure $callback): void
    {
        $this->channel->onReadable($callback);
    }

    public function close(): void
    {
        $this->channel->close();
    }

    private function seal(string $plaintext): string
    {
        $ciphertext = $this->sending->encrypt('', $plaintext);

        return pack('n', strlen($ciphertext)) . $ciphertext;
    }

    /**
     * Decrypt the next message, if it is complete.
     *
     * @throws DecryptionFailed
     */
    private function unseal(): bool
    {
        $length = $this->messageBytes();
        if ($length === null || $this->sealed->length() < self::PREFIX_BYTES + $length) {
            return false;
        }
        $this->sealed->skip(self::PREFIX_BYTES);
        $this->plain->append($this->receiving->decrypt('', $this->sealed->take($length)));

        return true;
    }

    private function fill(string $bytes): void
    {
        if ($bytes !== '') {
            $this->sealed->append($bytes);
        } elseif ($this->sealed->length() > 0) {
            throw new ConnectionClosed('the connection ended in the middle of a message');
        } else {
            $this->ended = true;
        }
    }

    /** Bytes missing of the message that has begun. */
    private function wanted(): int
    {
        return self::PREFIX_BYTES + ($this->messageBytes() ?? 0) - $this->sealed->length();
    }

    private function messageBytes(): ?int
    {
        $prefix = $this->sealed->peek(self::PREFIX_BYTES);

        return strlen($prefix) < self::PREFIX_BYTES ? null : ord($prefix[0]) << 8 | ord($prefix[1]);
    }

    private static function send(ChannelInterface $channel, string $message, Deadline $deadline): void
    {
        $channel->write(pack('n', strlen($message)) . $message, $deadline);
    }

    private static function receive(ChannelInterface $channel, Deadline $deadline): string
    {
        try {
            $prefix = Framing::readExactly($channel, self::PREFIX_BYTES, $deadline);

            return Framing::readExactly($channel, ord($prefix[0]) << 8 | ord($prefix[1]), $deadline);
        } catch (ConnectionClosed $exception) {
            throw new HandshakeFailed('the peer ended the connection during the handshake', 0, $exception);
        }
    }
}
