<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Exception;

/** A message on an established connection does not authenticate; the connection is closed. */
final class DecryptionFailed extends \RuntimeException implements Libp2pException
{
}
