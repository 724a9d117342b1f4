<?php

declare(strict_types=1);

namespace Plasm\Exception;

/** A node does not serve the files that its own receipt states, or serves others. */
final class FilesNotServed extends TransportException
{
}
