<?php

declare(strict_types=1);

namespace Plasm\Verifier;

/** What a verifier says of claims. */
enum Decision: string
{
    case Accept = 'accept';
    case Reject = 'reject';
    case Undecided = 'undecided';
}
