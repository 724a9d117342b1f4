<?php

declare(strict_types=1);

namespace Plasm;

/** The state of a job, in the words of GA4GH TES. */
enum JobState: string
{
    case Queued = 'QUEUED';
    case Initializing = 'INITIALIZING';
    case Running = 'RUNNING';
    case Complete = 'COMPLETE';
    case ExecutorError = 'EXECUTOR_ERROR';
    case SystemError = 'SYSTEM_ERROR';
    case Canceled = 'CANCELED';

    public function hasEnded(): bool
    {
        return match ($this) {
            self::Queued, self::Initializing, self::Running => false,
            self::Complete, self::ExecutorError, self::SystemError, self::Canceled => true,
        };
    }
}
