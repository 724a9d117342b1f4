<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt is a trusted node's, but not that of the node that answered. */
final class WrongNode extends ReceiptRejected
{
}
