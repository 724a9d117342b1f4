<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The caller gave something that cannot be used: an unknown option, a file that is not there. */
final class InvalidArgument extends \InvalidArgumentException implements ExceptionInterface
{
}
