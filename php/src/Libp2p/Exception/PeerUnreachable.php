<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** None of several addresses or peers could be used. */
final class PeerUnreachable extends \RuntimeException implements Libp2pException
{
    /** @param array<string, Libp2pException> $causes why each failed, by its address or PeerId */
    public function __construct(string $what, public readonly array $causes)
    {
        $details = [];
        foreach (array_slice($causes, 0, 8) as $name => $cause) {
            $details[] = "$name: {$cause->getMessage()}";
        }
        if (count($causes) > 8) {
            $details[] = sprintf('and %d more', count($causes) - 8);
        }
        parent::__construct($details === [] ? $what : "$what (" . implode('; ', $details) . ')');
    }
}
