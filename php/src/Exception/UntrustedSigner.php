<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt has a valid signature, but of a key that is neither pinned nor the dialled node's. */
final class UntrustedSigner extends ReceiptRejected
{
}
