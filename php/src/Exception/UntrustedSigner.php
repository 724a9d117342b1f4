<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The receipt is signed well, but by a key that is neither pinned nor that of the node that was dialled. */
final class UntrustedSigner extends ReceiptRejected
{
}
