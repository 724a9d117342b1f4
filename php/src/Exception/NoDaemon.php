<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** No daemon runs here; the message says how to start one. */
final class NoDaemon extends Unreachable
{
}
