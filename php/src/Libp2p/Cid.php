<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Exception\InvalidRecord;
use Plasm\PeerId;
use Plasm\Record\Base58;

/**
 * PeerIds as CIDs: version 1, codec libp2p-key; written in base32 (`bafz…`), read in the multibases of libp2p's tools.
 *
 * Source: libp2p specification, "Peer Ids and Keys", String representation; RFC 4648, section 6; multibase.
 */
final class Cid
{
    private const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
    private const BASE36 = '0123456789abcdefghijklmnopqrstuvwxyz';
    private const MAX_LENGTH = 128;

    /** version 1, then the multicodec libp2p-key */
    private const PREFIX = "\x01\x72";

    public static function ofPeer(PeerId $peer): string
    {
        return 'b' . self::encodeBase32(self::PREFIX . $peer->multihash());
    }

    /**
     * Read a PeerId in either of its text forms, `12D3KooW…` or a CID such as `bafz…` or `k51…`.
     *
     * @throws InvalidRecord
     */
    public static function parsePeer(string $text): PeerId
    {
        $base = substr($text, 0, 1);
        if (strlen($text) > self::MAX_LENGTH || !in_array($base, ['b', 'B', 'f', 'F', 'k', 'K', 'z'], true)) {
            return PeerId::parse($text);
        }
        $bytes = self::decode($base, substr($text, 1));
        if ($bytes === null || !str_starts_with($bytes, self::PREFIX)) {
            throw new InvalidRecord('peer', [['', 'not the CID of an Ed25519 key']]);
        }

        return PeerId::fromMultihash(substr($bytes, strlen(self::PREFIX)));
    }

    /** @return string|null null if it is not of its base */
    private static function decode(string $base, string $text): ?string
    {
        if ($base === 'z') {
            try {
                return $text === '' ? null : Base58::decode($text);
            } catch (\UnexpectedValueException) {
                return null;
            }
        }
        $isUpper = ctype_upper($base);
        if ($text !== ($isUpper ? strtoupper($text) : strtolower($text))) {
            return null;
        }
        $text = strtolower($text);

        return match (strtolower($base)) {
            'b' => self::decodeBase32($text),
            'f' => strlen($text) % 2 === 0 && ctype_xdigit($text) ? (string) hex2bin($text) : null,
            default => self::decodeBase36($text),
        };
    }

    private static function encodeBase32(string $bytes): string
    {
        $text = '';
        $bits = 0;
        $held = 0;
        foreach (str_split($bytes) as $byte) {
            $held = ($held << 8 | ord($byte)) & 0xFFF;
            for ($bits += 8; $bits >= 5; $bits -= 5) {
                $text .= self::BASE32[$held >> $bits - 5 & 31];
            }
        }

        return $bits > 0 ? $text . self::BASE32[$held << 5 - $bits & 31] : $text;
    }

    /** @return string|null null if a character, or the bits left over, are none of base32's */
    private static function decodeBase32(string $text): ?string
    {
        $bytes = '';
        $bits = 0;
        $held = 0;
        foreach ($text === '' ? [] : str_split($text) as $character) {
            $digit = strpos(self::BASE32, $character);
            if ($digit === false) {
                return null;
            }
            $held = ($held << 5 | $digit) & 0xFFF;
            $bits += 5;
            if ($bits >= 8) {
                $bits -= 8;
                $bytes .= chr($held >> $bits & 0xFF);
            }
        }

        return $bits < 5 && ($held & (1 << $bits) - 1) === 0 ? $bytes : null;
    }

    private static function decodeBase36(string $text): ?string
    {
        $bytes = []; // least significant first
        foreach ($text === '' ? [] : str_split($text) as $character) {
            $carry = strpos(self::BASE36, $character);
            if ($carry === false) {
                return null;
            }
            foreach ($bytes as $place => $byte) {
                $carry += $byte * 36;
                $bytes[$place] = $carry & 0xFF;
                $carry >>= 8;
            }
            for (; $carry > 0; $carry >>= 8) {
                $bytes[] = $carry & 0xFF;
            }
        }

        return str_repeat("\0", strspn($text, '0')) . implode('', array_map(chr(...), array_reverse($bytes)));
    }
}
