<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Record\Fields;
use Plasm\Record\Json;

/** A job as submitted: what it computes, by digests only, and what it may use. */
final readonly class Manifest
{
    public const FORMAT = 'phase.manifest/v0';
    public const PROFILE = 'plasm.det/v1';

    /** All there is to ask for. A job that asks for either cannot be reproduced. */
    public const CAPABILITIES = ['clock.real', 'random.real'];

    public const ZERO_SEED = '0000000000000000000000000000000000000000000000000000000000000000';

    private const MAX_BYTES = 65_536;

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
        ]));
    }

    /**
     * Parse a manifest. Its bytes are kept as they are.
     *
     * @throws InvalidRecord naming every problem with its path
     */
    public static function fromJson(string $json): self
    {
        $fields = Fields::decode($json, 'manifest', self::MAX_BYTES);
        $fields->oneOf('format', [self::FORMAT]);
        $task = new Task(
            profile: $fields->oneOf('profile', [self::PROFILE]),
            module: $fields->digest('module'),
            args: $fields->digest('args'),
            env: $fields->digest('env'),
            stdin: $fields->digest('stdin'),
            seed: $fields->hex('seed', 32),
            limits: Limits::fromFields($fields->object('limits')),
            capabilities: $fields->namesOf('capabilities', self::CAPABILITIES),
        );
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
