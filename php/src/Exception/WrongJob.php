<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt is about another job: another submission of the same task, for one. */
final class WrongJob extends ReceiptRejected
{
}
