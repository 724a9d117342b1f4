<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\UnknownJob;
use Plasm\Files\Fetching;
use Plasm\Http\Api;
use Plasm\Http\EventStream;
use Plasm\Http\Form;
use Plasm\JobAnswer;
use Plasm\JobState;
use Plasm\JobStatus;
use Plasm\OutcomeKind;
use Plasm\Output\OutputInterface;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\Record\Fields;
use Plasm\Submission;
use Plasm\Time\Deadline;

/**
 * Speaks the HTTP API (docs/http.md) about one job. The bearer token says who asks; a job's own token is not sent.
 *
 * What the server passes on is verified by the client as in every other mode.
 */
final class HttpSession implements SessionInterface
{
    /** From this size on the client asks whether the server has the module already. */
    private const POSSESSION_BYTES = 256 << 10;

    /** How long the server may take to hand a job to the daemon, which may have to compile the module. */
    private const ACCEPT_S = 330.0;
    private const MAX_JOB_BYTES = 256 << 10;
    private const MAX_ENVELOPE_BYTES = 1 << 20;
    private const ENVELOPE_TYPE = 'application/vnd.dsse.envelope.v1+json';
    private const UNKNOWN = 'UNKNOWN';

    public function __construct(
        private readonly Api $api,
        private readonly PeerId $peer,
        private readonly string $agent,
        private readonly Deadline $deadline,
    ) {
    }

    public function peer(): PeerId
    {
        return $this->peer;
    }

    public function agent(): string
    {
        return $this->agent;
    }

    public function submit(
        Submission $job,
        #[\SensitiveParameter] string $token,
        bool $mayHaveFiles = false,
    ): JobStatus {
        if ($job->files !== null) {
            throw self::withoutFiles();
        }
        if ($job->route !== 'here') {
            throw new InvalidArgument('route: over HTTP a job runs on the daemon of the server, so it is "here"');
        }
        if ($job->module->size() >= self::POSSESSION_BYTES) {
            try {
                return $this->send($job, byDigest: true);
            } catch (Refused $refused) {
                $refused->reason === 'unknown_module' || throw $refused;
            }
        }

        return $this->send($job, byDigest: false);
    }

    public function attach(string $jobId, #[\SensitiveParameter] string $token, OutputInterface $output): JobAnswer
    {
        $status = $this->follow($jobId, $output, null);
        $exchange = $this->api->send(
            'GET',
            "/v1/jobs/$jobId/receipt",
            'the receipt',
            $this->deadline,
            ['Accept' => self::ENVELOPE_TYPE],
        );
        try {
            $envelope = $exchange->response->body(self::MAX_ENVELOPE_BYTES, 'the receipt');
        } finally {
            $exchange->close();
        }
        if ($status->withdrawsOutput()) {
            $output->begin($status->attempt);
        }

        return new JobAnswer($status, $envelope, $this->peer);
    }

    public function fetch(string $jobId, #[\SensitiveParameter] string $token, Fetching $fetching): Fetching
    {
        throw self::withoutFiles();
    }

    public function watch(string $jobId, #[\SensitiveParameter] string $token, ?\Closure $changed = null): JobStatus
    {
        return $this->follow($jobId, null, $changed);
    }

    public function status(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->ask('GET', $jobId, '', 'the job\'s status');
    }

    public function cancel(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->ask('DELETE', $jobId, '', 'the job to be cancelled');
    }

    public function release(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->ask('POST', $jobId, '/release', 'the job to be released');
    }

    public function close(): void
    {
        // Each request has its own connection, which has ended by now.
    }

    /** @throws ProtocolError if anything was wrong in an answer */
    public static function finish(Fields $fields): void
    {
        try {
            $fields->finish();
        } catch (InvalidRecord $exception) {
            throw new ProtocolError("the web server's answer cannot be used: {$exception->getMessage()}", null, $exception);
        }
    }

    private static function withoutFiles(): Refused
    {
        return new Refused('files_unsupported', 'the HTTP API has no jobs with files', 'use mode local, gateway or remote');
    }

    private function send(Submission $job, bool $byDigest): JobStatus
    {
        $form = new Form();
        $form->add('manifest', $job->manifest->json);
        foreach (['args' => $job->args, 'env' => $job->env] as $name => $encoded) {
            foreach (self::items($encoded) as $item) {
                $form->add($name, $item);
            }
        }
        if ($byDigest) {
            $form->add('moduleDigest', $job->module->sha256());
        } else {
            $form->add('module', $job->module, 'module.wasm');
        }
        if ($job->stdin->size() > 0) {
            $form->add('stdin', $job->stdin, 'stdin');
        }
        $fields = $this->api->json(
            'POST',
            '/v1/jobs',
            'the server to accept the job',
            $this->deadline,
            self::MAX_JOB_BYTES,
            ['Content-Type' => "multipart/form-data; boundary=$form->boundary"],
            $form->body(),
            self::ACCEPT_S,
        );

        return $this->told($fields, $job->id());
    }

    private function ask(string $method, string $jobId, string $what, string $waitedFor): JobStatus
    {
        $fields = $this->api->json($method, "/v1/jobs/$jobId$what", $waitedFor, $this->deadline, self::MAX_JOB_BYTES);

        return $this->told($fields, $jobId);
    }

    /**
     * Follow a job until it has ended.
     *
     * @param OutputInterface|null $output takes its output, from what there is of it already
     */
    private function follow(string $jobId, ?OutputInterface $output, ?\Closure $changed): JobStatus
    {
        $headers = ['Accept' => 'text/event-stream'];
        if ($output !== null && $output->attempt() > 0) {
            $positions = array_map($output->position(...), Channel::OUTPUTS);
            $headers['Last-Event-ID'] = implode('.', [$output->attempt(), ...$positions]);
        }
        $query = $output === null ? '?output=false' : '';
        $exchange = $this->api->send('GET', "/v1/jobs/$jobId/events$query", 'the node to find the job', $this->deadline, $headers);
        try {
            $events = new EventStream($exchange->response);
            $waitedFor = 'the job to end';
            while (($event = $events->next($waitedFor)) !== null) {
                $this->deadline->check($waitedFor);
                [$name, $data] = $event;
                if ($name === 'output' && $output !== null) {
                    self::take($data, $output);
                } elseif ($name === 'status' || $name === 'end') {
                    $status = $this->told(Api::fields($data, self::MAX_JOB_BYTES), $jobId);
                    $waitedFor = "the job to end ({$status->state->value})";
                    self::begin($status->attempt, $output);
                    $changed === null || $changed($status);
                    if ($name === 'end') {
                        return $status;
                    }
                } elseif ($name === 'restart') {
                    $fields = Api::fields($data, self::MAX_JOB_BYTES);
                    $attempt = $fields->integer('attempt', 0);
                    self::finish($fields);
                    self::begin($attempt, $output);
                } elseif ($name === 'problem') {
                    throw Api::exception($data, 503);
                }
            }
        } finally {
            $exchange->close();
        }
        throw new ConnectionLost('the web server ended the stream of events before the job');
    }

    private static function begin(int $attempt, ?OutputInterface $output): void
    {
        if ($output !== null && $output->attempt() !== $attempt) {
            $output->begin($attempt);
        }
    }

    private static function take(string $json, OutputInterface $output): void
    {
        $fields = Api::fields($json, 1 << 20);
        $channel = $fields->oneOf('stream', ['stdout', 'stderr']) === 'stdout' ? Channel::Stdout : Channel::Stderr;
        $attempt = $fields->integer('attempt', 0);
        $offset = $fields->integer('offset', 0);
        $bytes = base64_decode($fields->matching('data', '[A-Za-z0-9+\/]*={0,2}', 'base64'), true);
        self::finish($fields);
        if ($bytes === false || $attempt !== $output->attempt() || $offset !== $output->position($channel)) {
            throw new ProtocolError("the web server sends output of {$channel->label()} that does not follow what there is");
        }
        $output->take($channel, $bytes);
    }

    /** Read a job as the API shows it. */
    private function told(Fields $fields, string $jobId): JobStatus
    {
        $states = [...array_column(JobState::cases(), 'value'), self::UNKNOWN];
        $state = $fields->oneOf('state', $states);
        $about = $fields->digest('jobId');
        $node = $fields->peer('node');
        $time = static fn (string $name): ?\DateTimeImmutable => $fields->has($name) ? $fields->time($name) : null;
        $outcome = $fields->has('outcome')
            ? $fields->object('outcome')->oneOf('kind', array_column(OutcomeKind::cases(), 'value'))
            : null;
        $status = new JobStatus(
            state: JobState::tryFrom($state) ?? JobState::SystemError,
            attempt: $fields->integer('attempt', 0),
            position: $fields->has('position') ? $fields->integer('position', 1) : null,
            stdoutBytes: $fields->integer('stdoutBytes', 0),
            stderrBytes: $fields->integer('stderrBytes', 0),
            acceptedAt: $time('acceptedAt'),
            startedAt: $time('startedAt'),
            finishedAt: $time('finishedAt'),
            expiresAt: $time('expiresAt'),
            outcome: $outcome === null ? null : OutcomeKind::from($outcome),
        );
        self::finish($fields);
        if ($about !== $jobId) {
            throw new ProtocolError("the web server answers about the job $about, not $jobId");
        }
        if ($node === null || !$node->equals($this->peer)) {
            throw new PeerMismatch("the node that has the job is $node, not $this->peer");
        }
        if ($state === self::UNKNOWN) {
            throw new UnknownJob('unknown_job', 'the node has no such job any more');
        }

        return $status;
    }

    /**
     * Return the items of a list encoding (`Digest::encodeList`).
     *
     * @return list<string>
     */
    private static function items(string $encoded): array
    {
        $items = [];
        for ($offset = 0; $offset < strlen($encoded); $offset += 8 + strlen(end($items))) {
            $length = unpack('P', substr($encoded, $offset, 8));
            assert($length !== false);
            $items[] = substr($encoded, $offset + 8, $length[1]);
        }

        return $items;
    }
}
