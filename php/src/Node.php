<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Record\Printable;

/** A node that was found. */
final readonly class Node
{
    public string $agent;

    /**
     * @param string $agent the name and version of its software as it reports them, printable
     * @param string $address the address at which it was found
     * @param CapabilityRecord|null $capabilities its capability record; null if it was not asked
     */
    public function __construct(
        public PeerId $peer,
        string $agent,
        public string $address,
        public ?CapabilityRecord $capabilities = null,
    ) {
        $this->agent = Printable::visible($agent);
    }
}
