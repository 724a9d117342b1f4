<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** A trusted node signed the receipt, but not the node that answered. */
final class WrongNode extends ReceiptRejected
{
}
