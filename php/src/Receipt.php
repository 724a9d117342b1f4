<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Receipt\Asked;
use Plasm\Receipt\Claims;
use Plasm\Receipt\Observed;
use Plasm\Record\Fields;

/** What a node says of one run: an in-toto Statement v1 whose subjects are the outputs. */
final readonly class Receipt
{
    public const GAS_SCHEDULE = 'plasm.gas/v1';
    public const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
    public const PREDICATE_TYPE = 'urn:phase:receipt:v0';

    private const MAX_BYTES = 512 << 10;

    private function __construct(
        public Asked $asked,
        public Observed $observed,
        public Claims $claims,
        public PeerId $node,
    ) {
    }

    /**
     * Parse a statement. Unknown fields are ignored. What was parsed is not yet trusted: see `ReceiptVerifier`.
     *
     * @throws InvalidRecord also if its task digest is not that of its fields
     */
    public static function fromStatement(string $json): self
    {
        $fields = Fields::decode($json, 'receipt', self::MAX_BYTES);
        $fields->oneOf('_type', [self::STATEMENT_TYPE]);
        $fields->oneOf('predicateType', [self::PREDICATE_TYPE]);
        $subjects = self::subjects($fields);
        $predicate = $fields->object('predicate');
        $asked = Asked::fromFields($predicate->object('asked'));
        $result = $predicate->object('result');
        $observed = Observed::fromFields($result, $subjects);
        if ($observed->reproducible !== $asked->task->reproducible()) {
            $result->problem('reproducible', 'contradicts the capabilities');
        }
        $claims = Claims::fromFields($predicate->object('claims'));
        $node = $predicate->object('node')->peer('peerId');
        $fields->finish();
        assert($node !== null);

        return new self($asked, $observed, $claims, $node);
    }

    /** @return array{stdout: string, stderr: string} */
    private static function subjects(Fields $fields): array
    {
        $digests = [];
        $subjects = $fields->objects('subject');
        foreach ($subjects as $subject) {
            $name = $subject->oneOf('name', ['stdout', 'stderr']);
            $digests[$name] = $subject->object('digest')->digest('sha256');
        }
        if (count($subjects) !== 2 || !isset($digests['stdout'], $digests['stderr'])) {
            $fields->problem('subject', 'expected stdout and stderr, once each');
        }

        return ['stdout' => $digests['stdout'] ?? '', 'stderr' => $digests['stderr'] ?? ''];
    }
}
