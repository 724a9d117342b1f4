<?php

declare(strict_types=1);

namespace Plasm\Exception;

/**
 * Nodes signed different receipts of one task, and the verifiers cannot decide which are right. A fraud proof is kept.
 */
final class ResultsDiffer extends ReceiptRejected
{
}
