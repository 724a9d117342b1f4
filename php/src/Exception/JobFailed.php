<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\JobResult;
use Plasm\LimitHint;
use Plasm\Record\Printable;

/** A job failed, and its receipt is valid: it exited with another code than 0, trapped, or reached a limit. */
final class JobFailed extends \RuntimeException implements ExceptionInterface
{
    private const STDERR_BYTES = 500;

    /** The option that raises the limit that the job reached, with a value; null if it reached none. */
    public readonly ?string $hint;

    /** @param JobResult $result the verified result, with stderr, the receipt and the verdict */
    public function __construct(public readonly JobResult $result)
    {
        $receipt = $result->receipt;
        $this->hint = LimitHint::of($result->outcome, $receipt->asked->task->limits, $receipt->claims->peakMemoryBytes);
        $stderr = trim((string) stream_get_contents($result->stderrStream(), self::STDERR_BYTES));
        parent::__construct(
            "the job failed: $result->outcome"
            . ($this->hint === null ? '' : " ($this->hint)")
            . ($stderr === '' ? '' : '; its stderr begins: ' . Printable::visible($stderr)),
        );
    }
}
