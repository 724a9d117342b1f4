<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/** Which IP addresses are of the public internet (IANA special-purpose address registries, RFC 6890). */
final class AddressScope
{
    public static function isPublic(string $ip): bool
    {
        if (filter_var($ip, FILTER_VALIDATE_IP, FILTER_FLAG_GLOBAL_RANGE) === false) {
            return false;
        }
        $bytes = (string) inet_pton($ip);

        return strlen($bytes) === 4
            ? ord($bytes[0]) < 224
            : (ord($bytes[0]) & 0xE0) === 0x20 && !str_starts_with($bytes, "\x20\x02");
    }
}
