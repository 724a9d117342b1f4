<?php

declare(strict_types=1);

namespace Plasm\Exception;

/**
 * What the receipt says cannot all be true, or not beside what its node tells of the job.
 *
 * The reasons name the rules that it breaks (docs/receipts.md, "Consistency").
 */
final class ContradictoryReceipt extends ReceiptRejected
{
}
