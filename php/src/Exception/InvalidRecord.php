<?php

declare(strict_types=1);

namespace Plasm\Exception;

use Plasm\Record\Printable;

/** Some bytes are not the record they were taken for. */
final class InvalidRecord extends \UnexpectedValueException implements ExceptionInterface
{
    /**
     * @param string $record the expected record, such as `manifest`
     * @param list<array{string, string}> $problems every (path, message) found
     */
    public function __construct(public readonly string $record, public readonly array $problems)
    {
        $lines = array_map(
            static fn (array $problem): string => $problem[0] === '' ? $problem[1] : "$problem[0]: $problem[1]",
            $problems,
        );
        parent::__construct(Printable::visible("not a valid $record: " . implode('; ', $lines)));
    }
}
