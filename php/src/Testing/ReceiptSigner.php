<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Digest;
use Plasm\Envelope;
use Plasm\Files\JobFiles;
use Plasm\Files\Product;
use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\OutcomeKind;
use Plasm\PeerId;
use Plasm\Receipt;
use Plasm\Record\Json;
use Plasm\Task;

/** Signs receipts as a node does, with a key that lives as long as this object. For tests. */
final readonly class ReceiptSigner
{
    public PeerId $peer;

    private string $secretKey;

    private function __construct(#[\SensitiveParameter] string $keyPair)
    {
        assert($keyPair !== '');
        $this->secretKey = sodium_crypto_sign_secretkey($keyPair);
        $this->peer = PeerId::fromPublicKey(sodium_crypto_sign_publickey($keyPair));
    }

    public static function withFreshKey(): self
    {
        return new self(sodium_crypto_sign_keypair());
    }

    /** @param string $seed 32 raw bytes */
    public static function fromSeed(#[\SensitiveParameter] string $seed): self
    {
        assert($seed !== '');

        return new self(sodium_crypto_sign_seed_keypair($seed));
    }

    /**
     * Return the envelope, as JSON, of a receipt for a run that put this out.
     *
     * @param list<Product> $files the outputs that it left
     */
    public function receipt(Manifest $manifest, Outcome $outcome, string $stdout, string $stderr = '', array $files = []): string
    {
        $statement = $this->statement($manifest, $outcome, $stdout, $stderr, $files);

        return $this->sign(Json::encode($statement))->toJson();
    }

    /**
     * Return a possible gas count for such a run: the limit if it ran out of gas, else at least the cost of its output.
     *
     * @param list<string> $outputs
     */
    private static function gas(Outcome $outcome, Task $task, array $outputs): int
    {
        $limit = $task->limits->gas;
        if ($outcome->kind === OutcomeKind::OutOfGas) {
            return $limit;
        }
        $written = array_sum(array_map(static fn (string $output): int => 1008 + strlen($output), array_filter(
            $outputs,
            static fn (string $output): bool => $output !== '',
        )));

        return min(1000 + $written, $limit);
    }

    /** @return array<string, mixed> a task's files as a receipt restates them */
    private static function files(JobFiles $files): array
    {
        return [
            'tree' => $files->tree,
            'readOnly' => $files->readOnly,
            'outputs' => $files->outputs,
            'limits' => [
                'dataBytes' => (string) $files->limits->dataBytes,
                'entries' => (string) $files->limits->entries,
                'descriptors' => (string) $files->limits->descriptors,
            ],
        ];
    }

    public function sign(string $payload): Envelope
    {
        return Envelope::sign($payload, Envelope::RECEIPT_TYPE, $this->secretKey);
    }

    /**
     * @param list<Product> $files
     *
     * @return array<string, mixed>
     */
    public function statement(Manifest $manifest, Outcome $outcome, string $stdout, string $stderr, array $files = []): array
    {
        $task = $manifest->task;
        $now = gmdate('Y-m-d\TH:i:s\Z');
        $end = [
            'kind' => $outcome->kind->value,
            'code' => $outcome->code,
            'trap' => $outcome->trap,
            'detail' => $outcome->detail,
        ];

        return [
            '_type' => Receipt::STATEMENT_TYPE,
            'subject' => [
                ['name' => 'stdout', 'digest' => ['sha256' => Digest::of($stdout)]],
                ['name' => 'stderr', 'digest' => ['sha256' => Digest::of($stderr)]],
                ...array_map(
                    static fn (Product $left): array => ['name' => $left->subject(), 'digest' => ['sha256' => $left->sha256]],
                    $files,
                ),
            ],
            'predicateType' => Receipt::PREDICATE_TYPE,
            'predicate' => [
                'asked' => [
                    'jobId' => $manifest->jobId(),
                    'taskDigest' => $manifest->taskDigest(),
                    'profile' => $task->profile,
                    'module' => $task->module,
                    'args' => $task->args,
                    'env' => $task->env,
                    'stdin' => $task->stdin,
                    'seed' => $task->seed,
                    'limits' => [
                        'gas' => (string) $task->limits->gas,
                        'memoryBytes' => (string) $task->limits->memoryBytes,
                        'outputBytes' => (string) $task->limits->outputBytes,
                    ],
                    'capabilities' => $task->capabilities,
                    ...($task->files === null ? [] : ['files' => self::files($task->files)]),
                    ...($task->entry === null ? [] : ['entry' => $task->entry]),
                ],
                'result' => [
                    'outcome' => array_filter($end, static fn (mixed $value): bool => $value !== null),
                    'reproducible' => $task->reproducible(),
                    'gasUsed' => (string) self::gas($outcome, $task, [$stdout, $stderr]),
                    'gasSchedule' => Manifest::GAS_SCHEDULES[$task->profile],
                    'stdoutBytes' => (string) strlen($stdout),
                    'stderrBytes' => (string) strlen($stderr),
                ],
                'claims' => [
                    'startedAt' => $now,
                    'finishedAt' => $now,
                    'wallTimeMs' => '0',
                    'cpuTimeMs' => '0',
                    'peakMemoryBytes' => '0',
                    'runtime' => ['name' => 'mock', 'version' => '0'],
                    'isolation' => 'process',
                    'attempt' => 1,
                ],
                'node' => ['peerId' => (string) $this->peer],
            ],
        ];
    }
}
