<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** No node or daemon could be dialled, or the one that answered is not the one that was asked for. */
class Unreachable extends TransportException
{
}
