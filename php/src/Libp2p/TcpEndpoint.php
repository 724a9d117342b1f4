<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

/** The target of a TCP connection: an IP address or a DNS name, and a port. */
final readonly class TcpEndpoint
{
    public function __construct(public MultiaddrProtocol $kind, public string $host, public int $port)
    {
    }

    public function isName(): bool
    {
        return $this->kind !== MultiaddrProtocol::Ip4 && $this->kind !== MultiaddrProtocol::Ip6;
    }
}
