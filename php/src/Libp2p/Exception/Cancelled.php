<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** The task was cancelled by what started it. */
final class Cancelled extends \RuntimeException implements Libp2pException
{
}
