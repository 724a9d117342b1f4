<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Files\FileHint;
use Plasm\JobResult;
use Plasm\LimitHint;
use Plasm\Record\Printable;

/** A job failed, and its receipt is valid: it exited with another code than 0, trapped, or reached a limit. */
final class JobFailed extends \RuntimeException implements ExceptionInterface
{
    private const STDERR_BYTES = 500;

    /** The option that allows what the job was refused, or raises the limit that it reached; null if that is not known. */
    public readonly ?string $hint;

    /** @param JobResult $result the verified result, with stderr, the receipt and the verdict */
    public function __construct(public readonly JobResult $result)
    {
        $receipt = $result->receipt;
        $task = $receipt->asked->task;
        $this->hint = FileHint::of(
            $result->outcome,
            $task->files,
            $receipt->observed->files,
            self::end($result->stdoutStream()) . self::end($result->stderrStream()),
        ) ?? LimitHint::of($result->outcome, $task->limits, $receipt->claims->peakMemoryBytes);
        $stderr = trim((string) stream_get_contents($result->stderrStream(), self::STDERR_BYTES));
        parent::__construct(
            "the job failed: $result->outcome"
            . ($this->hint === null ? '' : " ($this->hint)")
            . ($stderr === '' ? '' : '; its stderr begins: ' . Printable::visible($stderr)),
        );
    }

    /** @param resource $stream */
    private static function end($stream): string
    {
        $size = fstat($stream)['size'] ?? 0;

        return (string) stream_get_contents($stream, FileHint::TAIL_BYTES, max(0, $size - FileHint::TAIL_BYTES));
    }
}
