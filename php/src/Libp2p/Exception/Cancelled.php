<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

use Plasm\Exception\ExceptionInterface;

/** The task was cancelled by its starter. It is no failure of a peer: handlers of such failures must not catch it. */
final class Cancelled extends \RuntimeException implements ExceptionInterface
{
}
