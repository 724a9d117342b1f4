<?php

declare(strict_types=1);

namespace Plasm;

/** The relation of a receipt's signer to the user, in words for people (docs/network.md, "What "verified" says"). */
enum Standing: string
{
    case Own = 'your own node';
    case Named = 'a node that you named';
    case Stranger = 'a node that you do not know';
    case Convicted = 'a node that you named, though a fraud proof convicts it';
}
