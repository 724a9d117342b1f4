<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/**
 * A receipt does not hold: nothing it says, and no output that came with it, is to be used.
 *
 * The subclasses say what is wrong, for callers that treat the cases differently.
 */
abstract class ReceiptRejected extends \RuntimeException implements ExceptionInterface
{
    /** @param non-empty-list<string> $reasons everything that was found */
    final public function __construct(public readonly array $reasons, ?\Throwable $previous = null)
    {
        parent::__construct(Printable::visible('receipt rejected: ' . implode('; ', $reasons)), 0, $previous);
    }

    /** Return the same with a reason more, such as where the receipt is kept. */
    final public function withReason(string $reason): static
    {
        return new static([...$this->reasons, $reason], $this);
    }
}
