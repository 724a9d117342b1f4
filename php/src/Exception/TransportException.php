<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The communication with a node failed; subclasses name the reason. The job itself may still run. */
abstract class TransportException extends \RuntimeException implements ExceptionInterface
{
    /** @param string|null $hint how to solve the problem */
    public function __construct(string $message, public readonly ?string $hint = null, ?\Throwable $previous = null)
    {
        parent::__construct($hint === null ? $message : "$message ($hint)", 0, $previous);
    }
}
