<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\PeerId;

/** A stream on which all is said, and which the node keeps open for another conversation. */
final readonly class KeptStream
{
    /**
     * @param int $keepS for how many seconds the node keeps it between two conversations
     * @param list<string> $features the features in the node's `hello`
     */
    public function __construct(
        public StreamInterface $stream,
        public PeerId $peer,
        public string $agent,
        public int $keepS,
        public array $features = [],
    ) {
    }
}
