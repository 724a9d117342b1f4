<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

use Plasm\Exception\ExceptionInterface;

/** The task was cancelled by what started it. No failure of a peer: what handles those lets it pass. */
final class Cancelled extends \RuntimeException implements ExceptionInterface
{
}
