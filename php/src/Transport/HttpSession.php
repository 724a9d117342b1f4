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
use Plasm\Http\Response;
use Plasm\JobAnswer;
use Plasm\JobState;
use Plasm\JobStatus;
use Plasm\OutcomeKind;
use Plasm\Output\OutputInterface;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\Protocol\Message\Contents;
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
        if ($job->route !== 'here') {
            throw new InvalidArgument('route: over HTTP a job runs on the daemon of the server, so it is "here"');
        }
        $module = $job->module->size() >= self::POSSESSION_BYTES;
        $tree = $mayHaveFiles && $job->files !== null && $job->files->size() >= self::POSSESSION_BYTES;
        while (true) {
            try {
                return $this->send($job, $module, $tree);
            } catch (Refused $refused) {
                match (true) {
                    $module && $refused->reason === 'unknown_module' => $module = false,
                    $tree && $refused->reason === 'unknown_tree' => $tree = false,
                    default => throw $refused,
                };
            }
        }
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
        // The last byte is asked for again: a range behind the last byte is an error.
        $from = max(0, $fetching->taken() - 1);
        $until = $fetching->deadline();
        $exchange = $this->api->send(
            'GET',
            "/v1/jobs/$jobId/output?path=" . rawurlencode($fetching->product->path),
            'the server to find the output',
            $until === null ? $this->deadline : $this->deadline->orSooner($until),
            $from > 0 ? ['Range' => "bytes=$from-"] : [],
        );
        try {
            $response = $exchange->response;
            [$begin, $size] = self::range($response);
            if ($begin !== $from) {
                throw new ProtocolError('the web server sends another part of an output than was asked for');
            }
            $fetching->begin(new Contents($jobId, $response->header('Phase-Kind') ?? 'none', $size));
            $skipped = $fetching->taken() - $from;
            while (($bytes = $response->next('the rest of the output')) !== null) {
                $fetching->deadline()?->check('the rest of the output');
                $rest = substr($bytes, $skipped);
                $skipped = max(0, $skipped - strlen($bytes));
                if (strlen($rest) > $size - $fetching->taken()) { // a range says its own length, whatever the body has
                    throw new ProtocolError('the web server sends more of an output than it said');
                }
                $fetching->take($rest);
            }
        } finally {
            $exchange->close();
        }

        return $fetching;
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

    /**
     * Return where the bytes of an answer begin, and how many there are in all.
     *
     * @return array{int, int}
     *
     * @throws ProtocolError if it does not say so
     */
    private static function range(Response $response): array
    {
        $number = '(0|[1-9][0-9]{0,15})';
        $length = $response->header('Content-Length') ?? '';
        $range = $response->header('Content-Range') ?? '';
        if ($response->status === 200 && preg_match("/\\A$number\\z/", $length) === 1) {
            return [0, (int) $length];
        }
        if ($response->status === 206 && preg_match("~\\Abytes $number-$number/$number\\z~", $range, $part) === 1) {
            return [(int) $part[1], (int) $part[3]];
        }
        throw new ProtocolError('the web server does not say which bytes of an output it sends');
    }

    /** @param bool $module whether the module is named by its digest; `$tree`: whether the files are */
    private function send(Submission $job, bool $module, bool $tree): JobStatus
    {
        $form = new Form();
        $form->add('manifest', $job->manifest->json);
        foreach (['args' => $job->args, 'env' => $job->env] as $name => $encoded) {
            foreach (self::items($encoded) as $item) {
                $form->add($name, $item);
            }
        }
        if ($module) {
            $form->add('moduleDigest', $job->module->sha256());
        } else {
            $form->add('module', $job->module, 'module.wasm');
        }
        if ($job->stdin->size() > 0) {
            $form->add('stdin', $job->stdin, 'stdin');
        }
        if ($job->files !== null) {
            $tree ? $form->add('treeDigest', $job->files->tree) : $form->add('pack', $job->files, 'pack');
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
