<?php

declare(strict_types=1);

namespace Plasm\Record;

/** The value of a missing field, which differs from null. */
enum Missing
{
    case Field;
}
