<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The output that came with the receipt is not the one it was signed for. */
final class WrongOutput extends ReceiptRejected
{
}
