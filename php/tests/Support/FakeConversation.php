<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\PeerId;

/** The node's side of one conversation. */
final class FakeConversation
{
    private const CHANNELS = ['module' => 1, 'args' => 2, 'env' => 3, 'stdin' => 4, 'files' => 7];

    private string $buffer = '';
    private bool $isOver = false;
    private ?FakeJob $job = null;
    private int $uploaded = 0;

    /** @var array<string, int> */
    private array $credit = [];

    /** @var array<string, int> */
    private array $sent = [];

    private int $sentInAll = 0;

    /** @var array<string, int> */
    private array $granted = [];

    public function __construct(private readonly FakeNode $node)
    {
    }

    public function isOver(): bool
    {
        return $this->isOver;
    }

    public function provenPeer(): ?PeerId
    {
        return $this->node->isProven ? $this->node->signer->peer : null;
    }

    public function greet(): string
    {
        if ($this->node->isSilent) {
            return '';
        }

        $features = $this->node->features === null ? [] : ['features' => $this->node->features];

        return $this->node->hello
            ?? self::message('hello', ['peer' => (string) $this->node->signer->peer, 'agent' => 'fake/1', ...$features]);
    }

    /** Take a client's bytes and return the answer. */
    public function hear(string $bytes): string
    {
        $this->buffer .= $bytes;
        $answer = '';
        while (!$this->isOver && strlen($this->buffer) >= 4) {
            $end = 4 + unpack('N', $this->buffer)[1];
            if (strlen($this->buffer) < $end) {
                break;
            }
            $frame = substr($this->buffer, 4, $end - 4);
            $this->buffer = substr($this->buffer, $end);
            $answer .= $frame[0] === "\0" ? $this->control(substr($frame, 1)) : $this->data($frame);
        }

        return $this->node->isSilent ? '' : $answer;
    }

    private function control(string $json): string
    {
        $fields = json_decode($json, true, flags: JSON_THROW_ON_ERROR);
        $this->node->heard[] = [$fields['type'], $fields];
        if ($this->node->nonsense !== null && $fields['type'] !== 'heartbeat') {
            return $this->node->nonsense;
        }
        if ($this->node->refusals !== [] && in_array($fields['type'], ['submit', 'attach', 'status'], true)) {
            return $this->refuse(array_shift($this->node->refusals));
        }
        $key = ($fields['job_id'] ?? hash('sha256', $fields['manifest'] ?? '')) . '/' . ($fields['token'] ?? '');

        return match ($fields['type']) {
            'submit' => $this->submit($key, $fields),
            'attach' => $this->attach($this->node->jobs[$key] ?? null, $fields),
            'status', 'release' => $this->status($this->node->jobs[$key] ?? null),
            'cancel' => $this->cancel($this->node->jobs[$key] ?? null),
            'possession' => $this->possession($fields),
            'fetch' => $this->fetch($this->node->jobs[$key] ?? null, $fields),
            'credit' => $this->more($fields),
            default => '',
        };
    }

    /** @param array<string, mixed> $fields */
    private function submit(string $key, array $fields): string
    {
        $job = $this->node->jobs[$key] ??= new FakeJob(Manifest::fromJson($fields['manifest']), $fields['sizes']);
        $this->job = $job;
        if ($job->isAccepted) {
            return $this->told('attached');
        }
        $received = array_combine(
            array_keys(array_intersect_key(self::CHANNELS, $job->sizes)),
            array_map(strlen(...), array_values($job->uploads)),
        );
        $window = $this->node->isCreditLate ? 0 : $this->node->windowBytes;
        $this->granted = array_map(static fn (int $bytes): int => $bytes + $window, $received);
        $offer = self::message('offered', [
            'job_id' => $job->manifest->jobId(),
            'expires_s' => 60,
            'challenge' => str_repeat('00', 32),
            'received' => $received,
            'credit' => $this->granted,
        ]);

        return $offer . ($job->isUploaded() ? $this->accept() : '');
    }

    /** @param array<string, mixed> $fields */
    private function possession(array $fields): string
    {
        $job = $this->job ?? throw new \LogicException();
        $about = isset($fields['channel']) ? ['channel' => $fields['channel']] : [];
        foreach ($about === [] ? $this->node->modules : $this->node->packs as $known) {
            if (hash('sha256', str_repeat("\0", 32) . $known) === $fields['proof']) {
                $job->uploads[$about === [] ? 1 : 7] = $known;

                return self::message('possessed', ['known' => true, ...$about]) . ($job->isUploaded() ? $this->accept() : '');
            }
        }

        $answer = self::message('possessed', ['known' => false, ...$about]);
        if ($this->node->isCreditLate) {
            foreach ($this->granted as $name => $bytes) {
                $this->granted[$name] = $bytes + $this->node->windowBytes;
                $answer .= self::message('credit', ['channel' => $name, 'upto' => $this->granted[$name]]);
            }
        }

        return $answer;
    }

    private function data(string $frame): string
    {
        $job = $this->job ?? throw new \LogicException();
        ['channel' => $channel, 'offset' => $offset] = unpack('Cchannel/Joffset', $frame, 1);
        $name = (string) array_search($channel, self::CHANNELS, true);
        $bytes = substr($frame, 10);
        if ($offset !== strlen($job->uploads[$channel]) || $offset + strlen($bytes) > $this->granted[$name]) {
            return $this->end(self::message('error', ['code' => 'protocol', 'message' => "bad data on $name"]));
        }
        $job->uploads[$channel] .= $bytes;
        $this->uploaded += strlen($bytes);
        if ($this->node->breakUploadAt !== null && $this->uploaded >= $this->node->breakUploadAt) {
            $this->node->breakUploadAt = null;

            return $this->end('');
        }
        if ($job->isUploaded()) {
            return $this->accept();
        }
        if ($this->granted[$name] - strlen($job->uploads[$channel]) >= $this->node->windowBytes / 2) {
            return '';
        }
        $this->granted[$name] = strlen($job->uploads[$channel]) + $this->node->windowBytes;

        return self::message('credit', ['channel' => $name, 'upto' => $this->granted[$name]]);
    }

    private function accept(): string
    {
        $job = $this->job ?? throw new \LogicException();
        foreach (array_diff_key(self::CHANNELS, ['files' => 7]) as $name => $channel) {
            if (hash('sha256', $job->uploads[$channel]) !== $job->manifest->task->$name) {
                return $this->refuse(['reason' => 'digest_mismatch', 'message' => "$name is something else"]);
            }
        }
        if (isset($job->uploads[7])) {
            $length = unpack('V', $job->uploads[7])[1];
            if (hash('sha256', substr($job->uploads[7], 4, $length)) !== $job->manifest->task->files?->tree) {
                return $this->refuse(['reason' => 'digest_mismatch', 'message' => 'the files are something else']);
            }
        }
        $job->isAccepted = true;

        return self::message('progress', ['phase' => 'compiling']) . $this->told('accepted');
    }

    /** @param array<string, mixed> $fields */
    private function attach(?FakeJob $job, array $fields): string
    {
        if ($job === null || !$job->isAccepted) {
            return $this->refuse(['reason' => 'unknown_job', 'message' => 'no such job']);
        }
        $this->job = $job;
        $this->credit = $fields['credit'];
        $this->sent = $fields['attempt'] === $job->attempt ? $fields['offsets'] : ['stdout' => 0, 'stderr' => 0];

        return $this->told('attached') . $this->output();
    }

    /** @param array<string, mixed> $fields */
    private function more(array $fields): string
    {
        if ($fields['channel'] === 'contents') {
            $this->credit['contents'] = $fields['upto'];

            return $this->contents();
        }
        if ($this->job?->attempt === $fields['attempt']) {
            $this->credit[$fields['channel']] = $fields['upto'];
        }

        return $this->output();
    }

    private string $fetched = '';

    /** @param array<string, mixed> $fields */
    private function fetch(?FakeJob $job, array $fields): string
    {
        if ($job === null || !$job->isAccepted) {
            return $this->refuse(['reason' => 'unknown_job', 'message' => 'no such job']);
        }
        if (isset($this->node->unserved[$fields['path']])) {
            return $this->refuse(['reason' => $this->node->unserved[$fields['path']], 'message' => 'not for you']);
        }
        [$kind, $this->fetched] = $this->node->served[$fields['path']] ?? $this->node->files->contents($fields['path']);
        $this->sent = ['contents' => $fields['offset']];
        $this->credit = ['contents' => $fields['credit']];
        $answer = self::message('contents', [
            'job_id' => $job->manifest->jobId(),
            'kind' => $kind,
            'size' => strlen($this->fetched),
        ]);

        return $answer . ($this->node->serving === null ? $this->contents() : ($this->node->serving)());
    }

    private function contents(): string
    {
        $answer = '';
        while (($room = min($this->credit['contents'], strlen($this->fetched)) - $this->sent['contents']) > 0) {
            $chunk = substr($this->fetched, $this->sent['contents'], min(10_000, $room));
            $answer .= pack('NCCJ', 10 + strlen($chunk), 1, 8, $this->sent['contents']) . $chunk;
            $this->sent['contents'] += strlen($chunk);
            if ($this->node->breakFetchAt !== null && $this->sent['contents'] >= $this->node->breakFetchAt) {
                $this->node->breakFetchAt = null;

                return $this->end($answer);
            }
        }

        return $this->sent['contents'] >= strlen($this->fetched) ? $this->end($answer) : $answer;
    }

    private function output(): string
    {
        $job = $this->job ?? throw new \LogicException();
        $answer = '';
        foreach (['stdout' => 5, 'stderr' => 6] as $name => $channel) {
            $bytes = $this->node->$name;
            while (($room = min($this->credit[$name], strlen($bytes)) - $this->sent[$name]) > 0) {
                $chunk = substr($bytes, $this->sent[$name], min(10_000, $room));
                $answer .= pack('NCCJ', 10 + strlen($chunk), 1, $channel, $this->sent[$name]) . $chunk;
                $this->sent[$name] += strlen($chunk);
                $this->sentInAll += strlen($chunk);
                if ($this->node->breakOutputAt !== null && $this->sentInAll >= $this->node->breakOutputAt) {
                    $this->node->breakOutputAt = null;

                    return $this->end($answer);
                }
                if ($this->node->withdrawAt !== null && $this->sentInAll >= $this->node->withdrawAt) {
                    [$this->node->stdout, $this->node->stderr, $job->isCancelled] = ['', '', true];

                    return $this->end($answer . $this->result($job));
                }
                if ($this->node->restartAt !== null && $this->sentInAll >= $this->node->restartAt) {
                    $this->node->restartAt = null;
                    ++$job->attempt;
                    $this->sent = ['stdout' => 0, 'stderr' => 0];

                    return $answer . self::message('state', ['status' => $this->statusOf($job)]) . $this->output();
                }
            }
        }
        if ($this->sent !== ['stdout' => strlen($this->node->stdout), 'stderr' => strlen($this->node->stderr)]) {
            return $answer;
        }

        return $this->end($answer . $this->result($job));
    }

    private function result(FakeJob $job): string
    {
        $outcome = $job->isCancelled ? Outcome::cancelled() : $this->node->outcome ?? Outcome::exited($this->node->exitCode);
        $signer = $this->node->behind ?? $this->node->signer;
        $envelope = $signer->receipt($job->manifest, $outcome, $this->node->stdout, $this->node->stderr, $this->node->files->products());
        $envelope = $this->node->forge === null ? $envelope : ($this->node->forge)($envelope, $job);

        return self::message('result', [
            'status' => ['state' => $outcome->state()->value, 'outcome' => $outcome->kind->value] + $this->statusOf($job),
            'envelope' => $envelope,
        ]);
    }

    private function status(?FakeJob $job): string
    {
        if ($job === null) {
            return $this->refuse(['reason' => 'unknown_job', 'message' => 'no such job']);
        }
        $this->job = $job;

        return $this->end($this->told('status'));
    }

    private function cancel(?FakeJob $job): string
    {
        if ($job !== null) {
            $job->isCancelled = true;
        }

        return $this->status($job);
    }

    private function told(string $type): string
    {
        $job = $this->job ?? throw new \LogicException();

        return self::message($type, ['job_id' => $job->manifest->jobId(), 'status' => $this->statusOf($job)]);
    }

    /** @return array<string, mixed> */
    private function statusOf(FakeJob $job): array
    {
        return [
            'state' => $job->isCancelled ? 'CANCELED' : 'RUNNING',
            'attempt' => $job->attempt,
            'stdout_bytes' => strlen($this->node->stdout),
            'stderr_bytes' => strlen($this->node->stderr),
        ] + ($this->node->behind === null ? [] : ['node' => (string) $this->node->behind->peer]);
    }

    /** @param array<string, mixed> $refusal */
    private function refuse(array $refusal): string
    {
        return $this->end(self::message('refused', $refusal));
    }

    private function end(string $answer): string
    {
        $this->isOver = true;

        return $answer;
    }

    /** @param array<string, mixed> $fields */
    public static function message(string $type, array $fields = []): string
    {
        $body = json_encode(['type' => $type, ...$fields], JSON_THROW_ON_ERROR);

        return pack('NC', 1 + strlen($body), 0) . $body;
    }
}
