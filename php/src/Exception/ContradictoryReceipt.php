<?php

declare(strict_types=1);

namespace Plasm\Exception;

/**
 * The receipt contradicts itself, or its node's other statements about the job.
 *
 * The reasons name the rules that it breaks (docs/receipts.md, "Consistency").
 */
final class ContradictoryReceipt extends ReceiptRejected
{
}
