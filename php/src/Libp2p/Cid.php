<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Exception\InvalidRecord;
use Plasm\PeerId;

/**
 * PeerIds as CIDs: version 1, codec libp2p-key, multibase base32 (`bafz…`).
 *
 * Source: libp2p specification, "Peer Ids and Keys", String representation; RFC 4648, section 6.
 */
final class Cid
{
    private const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

    /** version 1, then the multicodec libp2p-key */
    private const PREFIX = "\x01\x72";

    public static function ofPeer(PeerId $peer): string
    {
        return 'b' . self::encodeBase32(self::PREFIX . $peer->multihash());
    }

    /**
     * Read a PeerId in either of its text forms, `12D3KooW…` or `bafz…`.
     *
     * @throws InvalidRecord
     */
    public static function parsePeer(string $text): PeerId
    {
        if (!str_starts_with($text, 'b')) {
            return PeerId::parse($text);
        }
        $bytes = strlen($text) === 65 ? self::decodeBase32(substr($text, 1)) : null;
        if ($bytes === null || !str_starts_with($bytes, self::PREFIX)) {
            throw new InvalidRecord('peer', [['', 'not the CID of an Ed25519 key']]);
        }

        return PeerId::fromMultihash(substr($bytes, strlen(self::PREFIX)));
    }

    private static function encodeBase32(string $bytes): string
    {
        $text = '';
        $bits = 0;
        $held = 0;
        foreach (str_split($bytes) as $byte) {
            $held = ($held << 8 | ord($byte)) & 0xFFF;
            for ($bits += 8; $bits >= 5; $bits -= 5) {
                $text .= self::ALPHABET[$held >> $bits - 5 & 31];
            }
        }

        return $bits > 0 ? $text . self::ALPHABET[$held << 5 - $bits & 31] : $text;
    }

    /** @return string|null null if a character, or the bits left over, are none of base32's */
    private static function decodeBase32(string $text): ?string
    {
        $bytes = '';
        $bits = 0;
        $held = 0;
        foreach (str_split($text) as $character) {
            $digit = strpos(self::ALPHABET, $character);
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

        return ($held & (1 << $bits) - 1) === 0 ? $bytes : null;
    }
}
