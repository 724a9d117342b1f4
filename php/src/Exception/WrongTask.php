<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt is about another module, other input or other limits than those that were asked for. */
final class WrongTask extends ReceiptRejected
{
}
