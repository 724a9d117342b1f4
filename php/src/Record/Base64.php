<?php

declare(strict_types=1);

namespace Plasm\Record;

/**
 * base64 in either alphabet, padded and canonical.
 *
 * A text with stray bits or characters, which lax decoders read alike, is refused, so that no byte of a signed
 * envelope can be changed without notice.
 */
final class Base64
{
    /** Decode a field, noting a problem in `$fields`. */
    public static function field(Fields $fields, string $name): string
    {
        $text = $fields->matching($name, '[A-Za-z0-9+\/_-]*+={0,2}', 'base64');
        $standard = strtr($text, '-_', '+/');
        $bytes = base64_decode($standard, true);
        if ($bytes === false || base64_encode($bytes) !== $standard) {
            $fields->problem($name, 'expected canonical base64');

            return '';
        }

        return $bytes;
    }
}
