<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The envelope is damaged, or its payload is no receipt. */
final class MalformedReceipt extends ReceiptRejected
{
}
