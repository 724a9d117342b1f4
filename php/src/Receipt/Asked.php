<?php

declare(strict_types=1);

namespace Plasm\Receipt;

use Plasm\Exception\InvalidRecord;
use Plasm\Files\JobFiles;
use Plasm\Limits;
use Plasm\Manifest;
use Plasm\Record\Fields;
use Plasm\Task;

/** The request: the complete task by digests, and the submission. */
final readonly class Asked
{
    private function __construct(public string $jobId, public string $taskDigest, public Task $task)
    {
    }

    /** Read the request, noting problems in `$fields`, also a task digest that does not match the fields. */
    public static function fromFields(Fields $fields): self
    {
        $task = new Task(
            profile: $fields->oneOf('profile', array_keys(Manifest::GAS_SCHEDULES)),
            module: $fields->digest('module'),
            args: $fields->digest('args'),
            env: $fields->digest('env'),
            stdin: $fields->digest('stdin'),
            seed: $fields->hex('seed', 32),
            limits: self::limits($fields->object('limits')),
            capabilities: $fields->namesOf('capabilities', Manifest::CAPABILITIES),
            files: $fields->isThere('files') ? JobFiles::fromAsked($fields->object('files')) : null,
            entry: Manifest::entry($fields),
        );
        Manifest::checkProfile($task, $fields);
        $asked = new self($fields->digest('jobId'), $fields->digest('taskDigest'), $task);
        if ($asked->taskDigest !== $task->digest()) {
            $fields->problem('taskDigest', 'not the digest of the fields beside it');
        }

        return $asked;
    }

    private static function limits(Fields $fields): Limits
    {
        // Too many digits give PHP_INT_MAX, which is beyond what any manifest can ask for.
        $values = array_map(
            static fn (string $name): int => (int) $fields->counter($name),
            ['gas', 'memoryBytes', 'outputBytes'],
        );
        try {
            return new Limits(...$values);
        } catch (InvalidRecord $exception) {
            $fields->problem('', implode('; ', array_column($exception->problems, 1)));

            return new Limits();
        }
    }
}
