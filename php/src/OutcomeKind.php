<?php

declare(strict_types=1);

namespace Plasm;

/** How a run can end. */
enum OutcomeKind: string
{
    case Exited = 'exited';
    case Trapped = 'trapped';
    case OutOfGas = 'out_of_gas';
    case OutputLimit = 'output_limit';
    case TimedOut = 'timed_out';
    case Cancelled = 'cancelled';
    case SystemError = 'system_error';

    /** Tell whether another run of the task must end so too, or it is only the node's claim. */
    public function recheckable(): bool
    {
        return match ($this) {
            self::Exited, self::Trapped, self::OutOfGas, self::OutputLimit => true,
            self::TimedOut, self::Cancelled, self::SystemError => false,
        };
    }
}
