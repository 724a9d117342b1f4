<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/**
 * The class of each IP address (IANA special-purpose address registries, RFC 6890 and its updates).
 *
 * Python's client has the same table; tests/vectors/addresses.json tests both.
 */
final class AddressScope
{
    public const PUBLIC = 'public';

    public const TABLE = [
        ['0.0.0.0/0', self::PUBLIC],
        ['0.0.0.0/8', 'unspecified'],
        ['10.0.0.0/8', 'private-10'],
        ['100.64.0.0/10', 'shared'],
        ['100.100.100.200/32', 'metadata'],
        ['127.0.0.0/8', 'loopback'],
        ['168.63.129.16/32', 'metadata'],
        ['169.254.0.0/16', 'link-local'],
        ['169.254.169.254/32', 'metadata'],
        ['172.16.0.0/12', 'private-172'],
        ['192.0.0.0/24', 'reserved'],
        ['192.0.0.192/32', 'metadata'],
        ['192.0.2.0/24', 'documentation'],
        ['192.88.99.0/24', 'translated'],
        ['192.168.0.0/16', 'private-192'],
        ['198.18.0.0/15', 'benchmarking'],
        ['198.51.100.0/24', 'documentation'],
        ['203.0.113.0/24', 'documentation'],
        ['224.0.0.0/4', 'multicast'],
        ['240.0.0.0/4', 'reserved'],
        ['::/0', 'reserved'],
        ['::/128', 'unspecified'],
        ['::1/128', 'loopback'],
        ['::/96', 'translated'],
        ['::ffff:0:0/96', 'translated'],
        ['64:ff9b::/96', 'nat64'],
        ['64:ff9b:1::/48', 'translated'],
        ['2000::/3', self::PUBLIC],
        ['2001::/23', 'reserved'],
        ['2001::/32', 'translated'],
        ['2001:2::/48', 'benchmarking'],
        ['2001:db8::/32', 'documentation'],
        ['2002::/16', 'translated'],
        ['3fff::/20', 'documentation'],
        ['fc00::/7', 'unique-local'],
        ['fd00:ec2::/32', 'metadata'],
        ['fd20:ce::254/128', 'metadata'],
        ['fe80::/10', 'link-local'],
        ['fec0::/10', 'site-local'],
        ['ff00::/8', 'multicast'],
    ];

    /** How many leading bytes of an address make its group: a /24 and a /48. */
    private const GROUP_BYTES = [4 => 3, 16 => 6];

    public static function isPublic(string $ip): bool
    {
        return self::classOf($ip) === self::PUBLIC;
    }

    /** Return the class of an address, that of the longest prefix in the table; null if it is no IP address. */
    public static function classOf(string $ip): ?string
    {
        $bytes = @inet_pton($ip);
        if ($bytes === false) {
            return null;
        }
        $found = null;
        $longest = -1;
        foreach (self::TABLE as [$network, $class]) {
            [$first, $length] = explode('/', $network);
            if ((int) $length > $longest && self::isWithin($bytes, (string) inet_pton($first), (int) $length)) {
                [$found, $longest] = [$class, (int) $length];
            }
        }
        if ($found === 'nat64') {
            // Judged by the IPv4 address in it (RFC 6052, section 2.1).
            $found = self::isPublic((string) inet_ntop(substr($bytes, 12))) ? self::PUBLIC : 'translated';
        }

        return $found;
    }

    /** Return the /24 or /48 that a public address is counted in; null for any other. */
    public static function groupOf(string $ip): ?string
    {
        return self::isPublic($ip) ? self::prefixOf($ip) : null;
    }

    /** Return the /24 or /48 of an address, whatever its class; null if it is no IP address. */
    public static function prefixOf(string $ip): ?string
    {
        $bytes = @inet_pton($ip);
        if ($bytes === false) {
            return null;
        }
        if (str_starts_with($bytes, "\x00\x64\xFF\x9B\x00\x00\x00\x00")) {
            $bytes = substr($bytes, 12);
        }

        return bin2hex(substr($bytes, 0, self::GROUP_BYTES[strlen($bytes)]));
    }

    private static function isWithin(string $bytes, string $first, int $length): bool
    {
        if (strlen($bytes) !== strlen($first)) {
            return false;
        }
        $whole = intdiv($length, 8);
        if (substr($bytes, 0, $whole) !== substr($first, 0, $whole)) {
            return false;
        }
        $mask = 0xFF << (8 - $length % 8) & 0xFF;

        return $length % 8 === 0 || (ord($bytes[$whole]) & $mask) === (ord($first[$whole]) & $mask);
    }
}
