<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** The node has no job that this handle opens: it never had, or its time is over, or it was released. */
final class UnknownJob extends Refused
{
}
