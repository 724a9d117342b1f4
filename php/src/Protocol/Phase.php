<?php

declare(strict_types=1);

namespace Plasm\Protocol;

/** The state of a conversation, which determines the messages that may follow. */
enum Phase: string
{
    case Greeting = 'the node is to introduce itself';
    case Opening = 'the client is to say what it wants';
    case Asking = 'the node is to answer';
    case Uploading = 'the client is to upload';
    case Following = 'the node is to tell of the job';
    case Fetching = 'the node is to send what was fetched';
    case Over = 'all is said';
}
