<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** No signature of the envelope is valid: it was changed after it was signed, or never signed. */
final class BadSignature extends ReceiptRejected
{
}
