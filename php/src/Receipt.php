<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Files\JobFiles;
use Plasm\Files\Listing;
use Plasm\Files\Product;
use Plasm\Receipt\Asked;
use Plasm\Receipt\Claims;
use Plasm\Receipt\Observed;
use Plasm\Record\Fields;

/** A node's statement about one run: an in-toto Statement v1 whose subjects are the outputs. */
final readonly class Receipt
{
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
     * Parse a statement. Unknown fields are ignored. A parsed statement is not trusted yet: see `ReceiptVerifier`.
     *
     * @throws InvalidRecord also if its task digest is not that of its fields
     */
    public static function fromStatement(string $json): self
    {
        $fields = Fields::decode($json, 'receipt', self::MAX_BYTES);
        $fields->oneOf('_type', [self::STATEMENT_TYPE]);
        $fields->oneOf('predicateType', [self::PREDICATE_TYPE]);
        $predicate = $fields->object('predicate');
        $asked = Asked::fromFields($predicate->object('asked'));
        [$streams, $files] = self::subjects($fields, $asked->task->files->outputs ?? []);
        $result = $predicate->object('result');
        $observed = Observed::fromFields($result, $streams, $files, Manifest::GAS_SCHEDULES[$asked->task->profile]);
        if ($files !== [] && !$observed->outcome->kind->recheckable()) {
            $fields->problem('subject', "a job that {$observed->outcome} leaves no files");
        }
        if ($observed->reproducible !== $asked->task->reproducible()) {
            $result->problem('reproducible', 'contradicts the capabilities');
        }
        $claims = Claims::fromFields($predicate->object('claims'));
        $node = $predicate->object('node')->peer('peerId');
        $fields->finish();
        assert($node !== null);

        return new self($asked, $observed, $claims, $node);
    }

    /**
     * Return the digests of both streams, and the outputs that the job left, by their paths.
     *
     * @param list<string> $outputs those that the task asks for
     *
     * @return array{array{stdout: string, stderr: string}, list<Product>}
     */
    private static function subjects(Fields $fields, array $outputs): array
    {
        $digests = $files = [];
        $subjects = $fields->objects('subject');
        if (count($subjects) > 2 + JobFiles::MAX_PATHS) {
            $fields->problem('subject', 'too many');
            $subjects = [];
        }
        foreach ($subjects as $subject) {
            $name = $subject->matching(
                'name',
                'stdout|stderr|(?:file|tree):[^\x00-\x1f\x7f]{1,1024}',
                'the name of an output',
            );
            $digest = $subject->object('digest')->digest('sha256');
            [$kind, $path] = [...explode(':', $name, 2), null];
            if ($path === null) {
                $twice = isset($digests[$name]);
                $digests[$name] = $digest;
            } else {
                $twice = isset($files["/$path"]) || !in_array($path, $outputs, true);
                $files["/$path"] = new Product($path, $kind, $digest);
            }
            if ($twice) {
                $what = $path === null ? $name : Listing::shown($path);
                $fields->problem('subject', "$what is not an output of the task, once");
            }
        }
        if (!isset($digests['stdout'], $digests['stderr'])) {
            $fields->problem('subject', 'expected stdout and stderr, once each');
        }
        ksort($files, SORT_STRING);

        return [['stdout' => $digests['stdout'] ?? '', 'stderr' => $digests['stderr'] ?? ''], array_values($files)];
    }
}
