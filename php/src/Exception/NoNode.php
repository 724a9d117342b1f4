<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** No node of the network accepts the job; the message names the nodes that were asked. */
final class NoNode extends Unreachable
{
}
