<?php

declare(strict_types=1);

namespace Plasm\Record;

/**
 * The valid encodings of Ed25519 keys and signatures (docs/receipts.md, "Keys and signatures").
 *
 * RFC 8032 lets implementations differ on points of small order and non-canonical encodings, and libraries do. These
 * rules are checked before sodium is called, so that all libraries agree.
 */
final class Ed25519
{
    /** 2^255 - 19, big-endian. */
    private const P = '7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed';

    /** The order of the base point (RFC 8032, section 5.1), big-endian. */
    private const L = '1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed';

    /** The y-coordinates, big-endian, of the eight points whose order divides 8. */
    private const SMALL_ORDER_Y = [
        '0000000000000000000000000000000000000000000000000000000000000000',
        '0000000000000000000000000000000000000000000000000000000000000001',
        '7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec',
        '05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826',
        '7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7',
    ];

    /** Return why some bytes are no Ed25519 public key that proves anything; null if they are one. */
    public static function keyProblem(string $publicKey): ?string
    {
        if (strlen($publicKey) !== SODIUM_CRYPTO_SIGN_PUBLICKEYBYTES) {
            return 'an Ed25519 public key has 32 bytes';
        }
        $problem = self::pointProblem($publicKey);

        return $problem === null ? null : "the Ed25519 key proves nothing: $problem";
    }

    /** Tell whether the signature over a message is that of the key: pure Ed25519, without a cofactor. */
    public static function isSignature(string $signature, string $message, string $publicKey): bool
    {
        if ($publicKey === '' || self::keyProblem($publicKey) !== null || !self::isCanonicalSignature($signature)) {
            return false;
        }
        assert($signature !== '');
        try {
            return sodium_crypto_sign_verify_detached($signature, $message, $publicKey);
        } catch (\SodiumException) {
            return false;
        }
    }

    /** Tell whether R is an acceptable point and S is below the group's order (RFC 8032, section 5.1.7). */
    private static function isCanonicalSignature(string $signature): bool
    {
        return strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES
            && self::pointProblem(substr($signature, 0, 32)) === null
            && strcmp(bin2hex(strrev(substr($signature, 32))), self::L) < 0;
    }

    /** Return why 32 bytes must not encode a point; null if they may. Whether the point exists is not checked. */
    private static function pointProblem(string $encoded): ?string
    {
        $bigEndian = strrev($encoded);
        $y = bin2hex(chr(ord($bigEndian[0]) & 0x7F) . substr($bigEndian, 1));
        if (strcmp($y, self::P) >= 0) {
            return 'it is not canonically encoded';
        }
        if (in_array($y, self::SMALL_ORDER_Y, true)) {
            return 'it is a point of small order, under which anyone can sign';
        }

        return null;
    }
}
