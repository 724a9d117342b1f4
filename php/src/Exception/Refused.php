<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/** The node refused the request. A refused job was never accepted: there is no receipt. */
class Refused extends \RuntimeException implements ExceptionInterface
{
    /**
     * @param string $reason a stable code, such as `queue_full` (docs/protocol.md, "Reasons of refusal")
     * @param string|null $hint how to solve the problem
     * @param int|null $retryAfterS seconds after which a new request may succeed
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
