<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/** A fraud proof proves nothing. `$reason` is the stable name of docs/fraud-proofs.md, such as `forged-signature`. */
final class ProofRefused extends \RuntimeException implements ExceptionInterface
{
    public function __construct(public readonly string $reason, string $message, ?\Throwable $previous = null)
    {
        parent::__construct(Printable::visible("fraud proof refused: $message"), 0, $previous);
    }
}
