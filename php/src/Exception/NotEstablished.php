<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** A receipt holds, and less is established of it than the client requires: its output is not to be used. */
final class NotEstablished extends \RuntimeException implements ExceptionInterface
{
}
