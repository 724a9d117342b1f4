<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt is about another job, for example another submission of the same task. */
final class WrongJob extends ReceiptRejected
{
}
