<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/** The node does not do what it was asked. A job that was refused was never accepted: there is no receipt. */
class Refused extends \RuntimeException implements ExceptionInterface
{
    /**
     * @param string $reason a stable code, such as `queue_full` (docs/protocol.md, "Reasons of refusal")
     * @param string|null $hint what can be done about it
     * @param int|null $retryAfterS when it may be worth to ask again
     */
    final public function __construct(
        public readonly string $reason,
        string $message,
        public readonly ?string $hint = null,
        public readonly ?int $retryAfterS = null,
    ) {
        parent::__construct(
            Printable::visible("refused ($reason): $message" . ($hint === null ? '' : " ($hint)")),
        );
    }
}
