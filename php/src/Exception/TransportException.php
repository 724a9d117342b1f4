<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** A node could not be talked to: the subclasses say why. The job itself may be well and running. */
abstract class TransportException extends \RuntimeException implements ExceptionInterface
{
    /** @param string|null $hint what can be done about it */
    public function __construct(string $message, public readonly ?string $hint = null, ?\Throwable $previous = null)
    {
        parent::__construct($hint === null ? $message : "$message ($hint)", 0, $previous);
    }
}
