<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** No node of the network was found that takes the job; the message says who was asked. */
final class NoNode extends Unreachable
{
}
