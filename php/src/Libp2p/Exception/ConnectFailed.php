<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** No connection came about: refused, unreachable, or the name does not resolve. */
final class ConnectFailed extends \RuntimeException implements Libp2pException
{
}
