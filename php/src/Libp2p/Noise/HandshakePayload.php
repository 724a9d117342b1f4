<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Noise;

use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\Exception\HandshakeFailed;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Protobuf;
use Plasm\PeerId;
use Plasm\Record\Ed25519;

/**
 * The payload that binds a Noise static key to a PeerId.
 *
 * Source: libp2p specification, noise-libp2p, "The libp2p Handshake Payload"; peer-ids, "Keys".
 */
final class HandshakePayload
{
    private const DOMAIN = 'noise-libp2p-static-key:';

    private const IDENTITY_KEY = 1;
    private const IDENTITY_SIGNATURE = 2;
    private const KEY_TYPE = 1;
    private const KEY_DATA = 2;
    private const ED25519 = 1;

    /** @param string $static this side's X25519 public key */
    public static function sign(Identity $identity, string $static): string
    {
        $key = Protobuf::number(self::KEY_TYPE, self::ED25519) . Protobuf::bytes(self::KEY_DATA, $identity->peer->publicKey);

        return Protobuf::bytes(self::IDENTITY_KEY, $key)
            . Protobuf::bytes(self::IDENTITY_SIGNATURE, $identity->sign(self::DOMAIN . $static));
    }

    /**
     * Return the peer that signed the other side's static key.
     *
     * @throws HandshakeFailed unless it has an Ed25519 key and that key's signature
     */
    public static function verify(string $payload, string $static): PeerId
    {
        try {
            $fields = self::single($payload);
            $key = self::single(self::text($fields, self::IDENTITY_KEY));
            $signature = self::text($fields, self::IDENTITY_SIGNATURE);
            if (($key[self::KEY_TYPE] ?? null) !== self::ED25519) {
                throw new HandshakeFailed('the peer has no Ed25519 key');
            }
            $peer = PeerId::fromPublicKey(self::text($key, self::KEY_DATA));
        } catch (ProtocolViolation | InvalidRecord $exception) {
            throw new HandshakeFailed("the handshake's payload cannot be read: {$exception->getMessage()}", 0, $exception);
        }
        if (!Ed25519::isSignature($signature, self::DOMAIN . $static, $peer->publicKey)) {
            throw new HandshakeFailed('the peer did not sign its Noise key');
        }

        return $peer;
    }

    /** @return array<int, int|string> */
    private static function single(string $message): array
    {
        $fields = [];
        foreach (Protobuf::read($message) as [$field, $value]) {
            if (isset($fields[$field]) && $field <= self::IDENTITY_SIGNATURE) {
                throw new ProtocolViolation("field $field is there twice");
            }
            $fields[$field] = $value;
        }

        return $fields;
    }

    /** @param array<int, int|string> $fields */
    private static function text(array $fields, int $field): string
    {
        $value = $fields[$field] ?? null;

        return is_string($value) ? $value : throw new ProtocolViolation("field $field is missing");
    }
}
