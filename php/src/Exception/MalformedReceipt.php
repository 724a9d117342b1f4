<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The envelope is damaged, or what it holds is no receipt. */
final class MalformedReceipt extends ReceiptRejected
{
}
