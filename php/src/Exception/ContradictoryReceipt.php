<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** What the receipt says cannot all be true; its reasons name the rules it breaks (docs/receipts.md, "Consistency"). */
final class ContradictoryReceipt extends ReceiptRejected
{
}
