<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Files\JobFiles;
use Plasm\Record\Fields;
use Plasm\Record\Json;

/** The client's request: a job's computation, by digests only, and its limits and grants. */
final readonly class Manifest
{
    public const FORMAT = 'phase.manifest/v0';
    public const PROFILE = 'plasm.det/v1';

    /** The profile of a job with files, an entry, or a module with exceptions or tail calls. */
    public const PROFILE_V2 = 'plasm.det/v2';

    /** The gas schedule that belongs to each profile. */
    public const GAS_SCHEDULES = [self::PROFILE => 'plasm.gas/v1', self::PROFILE_V2 => 'plasm.gas/v2'];

    /** All there is to ask for. A job that asks for either cannot be reproduced. */
    public const CAPABILITIES = ['clock.real', 'random.real'];

    public const ZERO_SEED = '0000000000000000000000000000000000000000000000000000000000000000';

    private const MAX_BYTES = 65_536;
    private const MAX_VALUES = 1000;
    private const MAX_ENTRY_BYTES = 255;

    /** @param string $json the bytes that the job id is the digest of */
    private function __construct(
        public string $json,
        public Task $task,
        public int $wallTimeS,
        public int $cpu,
        public int $attempts,
        public string $nonce,
    ) {
    }

    /**
     * Make the manifest of a task, with a fresh nonce, so that two submissions of one task are two jobs.
     *
     * @throws InvalidRecord naming every problem
     */
    public static function forTask(Task $task, int $wallTimeS = 60, int $cpu = 1, int $attempts = 3): self
    {
        $capabilities = $task->capabilities;
        sort($capabilities, SORT_STRING);

        return self::fromJson(Json::encode([
            'format' => self::FORMAT,
            'profile' => $task->profile,
            'module' => $task->module,
            'args' => $task->args,
            'env' => $task->env,
            'stdin' => $task->stdin,
            'seed' => $task->seed,
            'limits' => $task->limits->toArray(),
            'wall_time_s' => $wallTimeS,
            'cpu' => $cpu,
            'capabilities' => $capabilities,
            'retry' => ['attempts' => $attempts],
            'nonce' => bin2hex(random_bytes(16)),
            ...($task->files === null ? [] : ['files' => $task->files->toArray()]),
            ...($task->entry === null ? [] : ['entry' => $task->entry]),
        ]));
    }

    /**
     * Parse a manifest. Its bytes are kept as they are.
     *
     * @throws InvalidRecord naming every problem with its path
     */
    public static function fromJson(string $json): self
    {
        $fields = Fields::decode($json, 'manifest', self::MAX_BYTES, self::MAX_VALUES);
        $fields->oneOf('format', [self::FORMAT]);
        $task = new Task(
            profile: $fields->oneOf('profile', array_keys(self::GAS_SCHEDULES)),
            module: $fields->digest('module'),
            args: $fields->digest('args'),
            env: $fields->digest('env'),
            stdin: $fields->digest('stdin'),
            seed: $fields->hex('seed', 32),
            limits: Limits::fromFields($fields->object('limits')),
            capabilities: $fields->namesOf('capabilities', self::CAPABILITIES),
            files: $fields->isThere('files') ? JobFiles::fromFields($fields->object('files')) : null,
            entry: self::entry($fields),
        );
        self::checkProfile($task, $fields);
        $wallTimeS = $fields->integer('wall_time_s', 1, 86_400);
        $cpu = $fields->integer('cpu', 1, 1024);
        $retry = $fields->object('retry');
        $attempts = $retry->integer('attempts', 1, 100);
        $retry->refuseOthers();
        $nonce = $fields->hex('nonce', 16);
        $fields->refuseOthers();
        $fields->finish();

        return new self($json, $task, $wallTimeS, $cpu, $attempts, $nonce);
    }

    /** Read the export to call in place of `_start`, noting problems in `$fields`; null if none is named. */
    public static function entry(Fields $fields): ?string
    {
        if (!$fields->isThere('entry')) {
            return null;
        }
        $expected = 'the name of an export of at most ' . self::MAX_ENTRY_BYTES . ' bytes, other than _start and _initialize';
        $entry = $fields->matching('entry', '(?!_start\z|_initialize\z)[^\x00-\x1f\x7f]+', $expected);
        if (strlen($entry) > self::MAX_ENTRY_BYTES) {
            $fields->problem('entry', "expected $expected");
        }

        return $entry;
    }

    /** Note it in `$fields` if a task has files or an entry outside the profile that has them. */
    public static function checkProfile(Task $task, Fields $fields): void
    {
        if ($task->profile === self::PROFILE && ($task->files !== null || $task->entry !== null)) {
            $fields->problem('profile', 'files and an entry go with the profile ' . self::PROFILE_V2);
        }
    }

    /** Return the digest of the manifest's bytes. */
    public function jobId(): string
    {
        return Digest::of($this->json);
    }

    public function taskDigest(): string
    {
        return $this->task->digest();
    }
}
