<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

use Plasm\Exception\ExceptionInterface;

/** An error in the communication with a peer, or in a peer's messages. */
interface Libp2pException extends ExceptionInterface
{
}
