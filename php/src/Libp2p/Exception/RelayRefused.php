<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** A relay refused a circuit to a peer; the status code of its protocol gives the reason. */
final class RelayRefused extends \RuntimeException implements Libp2pException
{
    private const REASONS = [
        201 => 'the relay has no room',
        202 => 'the relay does not relay for this client',
        203 => 'the relay does not reach the peer',
        204 => 'the peer has no reservation at the relay',
    ];

    public function __construct(public readonly int $status)
    {
        parent::__construct(self::REASONS[$status] ?? "the relay refuses with status $status");
    }
}
