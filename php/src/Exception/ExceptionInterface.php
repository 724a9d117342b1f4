<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** Every exception that this library throws on purpose. */
interface ExceptionInterface extends \Throwable
{
}
