<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

use Plasm\Exception\ExceptionInterface;

/** Anything that went wrong between this client and a peer, or in what a peer sent. */
interface Libp2pException extends ExceptionInterface
{
}
