<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/**
 * A receipt was rejected: neither its statements nor the output that came with it may be used.
 *
 * Subclasses name the reason, for callers that distinguish them.
 */
abstract class ReceiptRejected extends \RuntimeException implements ExceptionInterface
{
    /** @param non-empty-list<string> $reasons everything that was found */
    final public function __construct(public readonly array $reasons, ?\Throwable $previous = null)
    {
        parent::__construct(Printable::visible('receipt rejected: ' . implode('; ', $reasons)), 0, $previous);
    }

    /** Return a copy with a further reason, such as the file where the receipt is kept. */
    final public function withReason(string $reason): static
    {
        return new static([...$this->reasons, $reason], $this);
    }
}
