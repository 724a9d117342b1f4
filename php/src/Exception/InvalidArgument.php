<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The caller gave something that cannot be used: an unknown option, a file that is not there. */
final class InvalidArgument extends \InvalidArgumentException implements ExceptionInterface
{
    /** @param string|null $hint how to solve the problem */
    public function __construct(
        string $message,
        int $code = 0,
        ?\Throwable $previous = null,
        public readonly ?string $hint = null,
    ) {
        parent::__construct($hint === null ? $message : "$message ($hint)", $code, $previous);
    }
}
