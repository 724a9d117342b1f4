<?php

declare(strict_types=1);

namespace Plasm\Protocol;

/** The byte channels of a conversation: the client's uploads, and the node's outputs of a job. */
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

    /** The channels that the client sends for each job; a job with files also has `Files`. */
    public const UPLOADS = [self::Module, self::Args, self::Env, self::Stdin];
    public const OUTPUTS = [self::Stdout, self::Stderr];

    /** The channel's name in messages. */
    public function label(): string
    {
        return strtolower($this->name);
    }
}
