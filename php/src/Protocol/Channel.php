<?php

declare(strict_types=1);

namespace Plasm\Protocol;

/** The byte sequences of a conversation: from the client those that it uploads, from the node what a job left. */
enum Channel: int
{
    case Module = 1;
    case Args = 2;
    case Env = 3;
    case Stdin = 4;
    case Stdout = 5;
    case Stderr = 6;
    case Files = 7;
    case Contents = 8;

    /** What the client sends for each job; for one with files also `Files`. */
    public const UPLOADS = [self::Module, self::Args, self::Env, self::Stdin];
    public const OUTPUTS = [self::Stdout, self::Stderr];

    /** Its name in messages. */
    public function label(): string
    {
        return strtolower($this->name);
    }
}
