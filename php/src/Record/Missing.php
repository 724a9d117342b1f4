<?php

declare(strict_types=1);

namespace Plasm\Record;

/** Stands for a field that is not there, which is not the same as null. */
enum Missing
{
    case Field;
}
