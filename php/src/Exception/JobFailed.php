<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\JobResult;
use Plasm\Record\Printable;

/** A job failed, and its receipt is valid: it exited with another code than 0, trapped, or reached a limit. */
final class JobFailed extends \RuntimeException implements ExceptionInterface
{
    private const STDERR_BYTES = 500;

    /** @param JobResult $result the verified result, with stderr, the receipt and the verdict */
    public function __construct(public readonly JobResult $result)
    {
        $stderr = trim((string) stream_get_contents($result->stderrStream(), self::STDERR_BYTES));
        parent::__construct(
            "the job failed: $result->outcome" . ($stderr === '' ? '' : '; its stderr begins: ' . Printable::visible($stderr)),
        );
    }
}
