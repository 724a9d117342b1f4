<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Time\Deadline;

/** Resolves a name to IP addresses. */
interface ResolverInterface
{
    /**
     * @param bool $ip4 whether IPv4 addresses are wanted
     * @param bool $ip6 whether IPv6 addresses are wanted
     *
     * @return non-empty-list<string> IPv4 addresses first
     *
     * @throws Libp2pException if there are none, or no server answers in time
     */
    public function resolve(string $name, bool $ip4, bool $ip6, Deadline $deadline): array;
}
