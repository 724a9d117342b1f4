<?php

/**
 * Reads inputs as this client does and says what it makes of each, for tests/fuzz/test_readers.py.
 *
 * A line in: the kind, a blank, the input in base64. A line out: JSON, null if it is refused, else what was read.
 */

declare(strict_types=1);

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Envelope;
use Plasm\Exception\ExceptionInterface;
use Plasm\Expectation;
use Plasm\Handle;
use Plasm\JobStatus;
use Plasm\Manifest;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\Protocol\NodeMessage;
use Plasm\Receipt;
use Plasm\Receipt\Consistency;
use Plasm\ReceiptVerifier;

require dirname(__DIR__, 2) . '/autoload.php';

/** @return list<mixed> */
function receipt(string $input): array
{
    $receipt = Receipt::fromStatement($input);
    [$asked, $observed, $claims] = [$receipt->asked, $receipt->observed, $receipt->claims];
    $broken = Consistency::contradictions($receipt);
    sort($broken);
    $times = array_map(
        static fn (DateTimeImmutable $time): int => (int) $time->format('U') * 1_000_000 + (int) $time->format('u'),
        [$claims->startedAt, $claims->finishedAt],
    );

    return [
        $asked->jobId, $asked->taskDigest, task($asked->task), $observed->outcome->kind->value,
        $observed->outcome->code, $observed->outcome->trap, $observed->outcome->detail, $observed->reproducible,
        $observed->gasUsed, $observed->stdout, $observed->stdoutBytes, $observed->stderr, $observed->stderrBytes,
        $times, $claims->wallTimeMs, $claims->cpuTimeMs, $claims->peakMemoryBytes, $claims->runtimeName,
        $claims->runtimeVersion, $claims->isolation, $claims->attempt, (string) $receipt->node, $broken,
        array_map(static fn ($left): array => [$left->subject(), $left->sha256], $observed->files),
    ];
}

/** @return list<mixed> */
function task(Plasm\Task $task): array
{
    $limits = $task->limits;

    return [
        $task->module, $task->args, $task->env, $task->stdin, $task->seed,
        $limits->gas, $limits->memoryBytes, $limits->outputBytes, $task->capabilities, $task->entry,
        $task->files === null ? null : [
            $task->files->tree, $task->files->readOnly, $task->files->outputs,
            array_values($task->files->limits->toArray()),
        ],
    ];
}

/** @return list<mixed> */
function envelope(string $input): array
{
    $envelope = Envelope::fromJson($input);

    return [
        bin2hex($envelope->payload), $envelope->payloadType,
        array_map(static fn ($item): array => [$item->keyId, bin2hex($item->bytes)], $envelope->signatures),
    ];
}

/** @return list<mixed> */
function manifest(string $input): array
{
    $manifest = Manifest::fromJson($input);

    return [
        $manifest->jobId(), $manifest->taskDigest(), task($manifest->task), $manifest->wallTimeS, $manifest->cpu,
        $manifest->attempts, $manifest->nonce,
    ];
}

/** @return list<mixed> */
function capabilities(string $input, PeerId $trusted, float $now): array
{
    $record = CapabilityRecord::open($input, $trusted, $now);
    $limits = $record->limits;
    $engines = array_map(
        static fn ($engine): array => [$engine->name, $engine->version, $engine->features],
        $record->engines,
    );

    return [
        (string) $record->peer, $record->agent, $record->profiles, $record->gasSchedules, $record->wasi, $engines,
        $record->architecture, $record->cpu, $record->memoryBytes, $limits->gas, $limits->memoryBytes,
        $limits->outputBytes, $limits->wallTimeS, $limits->cpu, $limits->moduleBytes, $limits->stdinBytes,
        $limits->treeBytes,
        $record->capabilities, $record->lends, $record->load->running, $record->load->waiting,
        $record->load->capacity, $record->protocols, $record->addresses,
        $record->issuedAt->format('Y-m-d\TH:i:s.u'), $record->expiresAt->format('Y-m-d\TH:i:s.u'),
    ];
}

/** @return list<mixed> */
function handle(string $input): array
{
    $handle = Handle::parse($input);

    return [$handle->jobId, (string) $handle->peer, bin2hex($handle->token()), (string) $handle];
}

/** @return list<mixed> */
function verified(string $input, PeerId $trusted): array
{
    $found = (new ReceiptVerifier())->verify($input, new Expectation([$trusted]));

    return [(string) $found->verdict->signer, $found->receipt->observed->gasUsed];
}

/** @return list<mixed> */
function listing(string $input): array
{
    $entries = Plasm\Files\Listing::parse($input);
    if (hash('sha256', Plasm\Files\Listing::encode($entries)) !== hash('sha256', $input)) {
        throw new LogicException('it is written otherwise than it was read');
    }

    return array_map(
        static fn ($entry): array
            => [bin2hex($entry->path), $entry->kind, $entry->size, bin2hex($entry->digest), bin2hex($entry->target)],
        $entries,
    );
}

/** @return list<mixed> */
function pack_of(string $input): array
{
    $spool = new Plasm\Output\Spool();
    $spool->append($input);
    $length = strlen($input) < 4 ? 0 : unpack('V', $input)[1];
    $pack = Plasm\Files\Pack::parse($spool, hash('sha256', substr($input, 4, $length)), 64, 4096);

    return [$pack->tree, $pack->size(), $pack->fileBytes()];
}

/** @return array<string, mixed> */
function message(string $input): array
{
    $message = NodeMessage::parse($input);

    return ['type' => $message->type(), ...fields($message)];
}

/** @return array<string, mixed> the fields that are there, under their names on the wire */
function fields(object $record): array
{
    $found = [];
    $there = static fn (mixed $value): bool => $value !== null && $value !== [];
    foreach (array_filter(get_object_vars($record), $there) as $name => $value) {
        $found[strtolower((string) preg_replace('/[A-Z]/', '_$0', $name))] = match (true) {
            $value instanceof DateTimeImmutable => $value->format('Y-m-d\TH:i:s.u\Z'),
            $value instanceof Channel => $value->label(),
            $value instanceof BackedEnum => $value->value,
            $value instanceof PeerId => (string) $value,
            $value instanceof JobStatus => fields($value),
            $name === 'features' => $value,
            is_array($value) => array_combine(
                array_map(static fn (int $number): string => Channel::from($number)->label(), array_keys($value)),
                $value,
            ),
            $name === 'challenge' => bin2hex($value),
            default => $value,
        };
    }

    return $found;
}

$trusted = PeerId::parse($argv[1]);
$now = (float) $argv[2];
while (($line = fgets(STDIN)) !== false) {
    [$kind, $encoded] = explode(' ', rtrim($line, "\n"), 2);
    $input = (string) base64_decode($encoded, true);
    try {
        $read = match ($kind) {
            'receipt' => receipt($input),
            'envelope' => envelope($input),
            'manifest' => manifest($input),
            'capabilities' => capabilities($input, $trusted, $now),
            'handle' => handle($input),
            'peer' => [bin2hex(PeerId::parse($input)->multihash())],
            'multihash' => [(string) PeerId::fromMultihash($input)],
            'verified' => verified($input, $trusted),
            'message' => message($input),
            'listing' => listing($input),
            'pack' => pack_of($input),
        };
    } catch (ExceptionInterface) {
        $read = null;
    }
    echo json_encode($read, JSON_THROW_ON_ERROR), "\n";
}
