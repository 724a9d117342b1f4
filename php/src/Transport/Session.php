<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Bounds;
use Plasm\Exception\ConnectionLost;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TransportException;
use Plasm\Exception\UnknownJob;
use Plasm\Files\Fetching;
use Plasm\JobAnswer;
use Plasm\JobStatus;
use Plasm\Output\Limited;
use Plasm\Output\OutputInterface;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\Protocol\ClientMessage;
use Plasm\Protocol\Data;
use Plasm\Protocol\Frame;
use Plasm\Protocol\Message;
use Plasm\Protocol\NodeMessage;
use Plasm\Protocol\Phase;
use Plasm\Record\Fields;
use Plasm\Record\Printable;
use Plasm\Source\SourceInterface;
use Plasm\Source\StringSource;
use Plasm\Submission;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Timeouts;

/** The client's side of the job protocol (docs/protocol.md) over a stream of any carrier. */
final class Session implements SessionInterface
{
    public const PROTOCOL = '/phase/job/1.0.0';

    /** How much output may be on its way. */
    private const WINDOW_BYTES = 1 << 20;

    /** From this size on the client asks whether the node has the module, or the files, already. */
    public const POSSESSION_BYTES = 256 << 10;

    /** The feature of nodes that take jobs with files. */
    private const FILES = 'files';

    /** As much of an output as there is. */
    private const MAX_FETCH_BYTES = Fields::MAX_INTEGER;

    /** Reasons of refusal for a job that does not exist or was deleted. */
    private const GONE = ['unknown_job', 'released', 'expired'];

    private readonly PeerId $peer;
    private readonly string $agent;
    private bool $isOver = false;

    /** @param ClockInterface|null $bounding set if another node may run the job: then waits for this node are short */
    private function __construct(
        private readonly Link $link,
        private readonly ?\Closure $watch,
        private readonly ?ClockInterface $bounding = null,
        private readonly ?\Closure $keep = null,
    ) {
    }

    /**
     * Begin a conversation on a new stream: wait for the node's `hello`.
     *
     * @param PeerId|null $expected the node that must answer
     * @param (\Closure(string, array<string, scalar>): mixed)|null $watch is told what happens
     * @param bool $isReplaceable whether another node may run the job, so that waits for this node are bounded
     * @param (\Closure(KeptStream): mixed)|null $keep receives the stream if the node keeps it after the conversation
     *
     * @throws TransportException after which the stream is closed
     */
    public static function open(
        StreamInterface $stream,
        ?PeerId $expected,
        Deadline $deadline,
        Timeouts $timeouts,
        ClockInterface $clock,
        ?\Closure $watch = null,
        bool $isReplaceable = false,
        ?\Closure $keep = null,
    ): self {
        $link = new Link($stream, $deadline, $timeouts->idleS, $clock);
        $self = new self($link, $watch, $isReplaceable ? $clock : null, $keep);
        try {
            $self->greet($expected, $deadline->orSooner(new Deadline($clock, $timeouts->connectS, 'connect')));
        } catch (TransportException $exception) {
            $stream->close();
            throw $exception;
        }

        return $self;
    }

    /**
     * Begin another conversation on a stream that was kept.
     *
     * @param \Closure(KeptStream): mixed $keep as of `open`
     */
    public static function resume(
        KeptStream $kept,
        Deadline $deadline,
        Timeouts $timeouts,
        ClockInterface $clock,
        \Closure $keep,
    ): self {
        $self = new self(new Link($kept->stream, $deadline, $timeouts->idleS, $clock, $kept->keepS, $kept->features), null, null, $keep);
        $self->peer = $kept->peer;
        $self->agent = $kept->agent;

        return $self;
    }

    /** Return the proof of having a module, or a pack of files: SHA-256 of the challenge and its bytes, in hexadecimal. */
    public static function proof(string $challenge, SourceInterface $source): string
    {
        $hash = hash_init('sha256');
        hash_update($hash, $challenge);
        for ($offset = 0; $offset < $source->size(); $offset += Frame::MAX_DATA_BYTES) {
            hash_update($hash, $source->read($offset, Frame::MAX_DATA_BYTES));
        }

        return hash_final($hash);
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
        if ($job->files !== null && !in_array(self::FILES, $this->link->conversation->features(), true)) {
            $this->close();
            throw new Refused('files_unsupported', 'the node takes no jobs with files');
        }
        /** @var array<int, SourceInterface> $sources */
        $sources = [
            Channel::Module->value => $job->module,
            Channel::Args->value => new StringSource($job->args),
            Channel::Env->value => new StringSource($job->env),
            Channel::Stdin->value => $job->stdin,
        ];
        if ($job->files !== null) {
            $sources[Channel::Files->value] = $job->files;
        }
        $sizes = [];
        foreach ($sources as $number => $source) {
            $sizes[Channel::from($number)->label()] = $source->size();
        }
        $nothing = ['stdout' => 0, 'stderr' => 0];
        $this->ask(ClientMessage::submit($job->manifest->json, $token, $sizes, $nothing, $job->route));
        $answer = $this->link->next('the node\'s offer', $this->answering());
        if ($answer instanceof Message\Attached) {
            $this->mustBeAbout($job->id(), $answer->jobId);

            return $answer->status;
        }
        if (!$answer instanceof Message\Offered) {
            throw $this->ended($answer);
        }
        $this->mustBeAbout($job->id(), $answer->jobId);
        $accepting = $this->bounding === null
            ? $this->link->deadline
            : $this->link->until(Bounds::acceptance($this->bounding, $job));
        $this->tell('offered', ['job_id' => $answer->jobId]);
        if ($job->module->size() >= self::POSSESSION_BYTES && $answer->received[Channel::Module->value] === 0) {
            $this->prove($answer->challenge, Channel::Module, $job->module);
        }
        $isWorthIt = $mayHaveFiles && $job->files !== null && $job->files->size() >= self::POSSESSION_BYTES;
        if ($isWorthIt && $answer->received[Channel::Files->value] === 0) {
            $this->prove($answer->challenge, Channel::Files, $job->files);
        }
        $this->upload($sources, $accepting);
        $this->tell('sent', $sizes);

        return $this->accepted($job->id(), $accepting);
    }

    public function attach(string $jobId, #[\SensitiveParameter] string $token, OutputInterface $output): JobAnswer
    {
        $attempt = $output->attempt();
        $offsets = self::offsets($output);
        $credit = array_map(static fn (int $offset): int => $offset + self::WINDOW_BYTES, $offsets);
        $this->ask(ClientMessage::attach($jobId, $token, $credit, $offsets, $attempt));
        $status = $this->attached($jobId);
        $bounds = $output instanceof Limited ? $output->bounds : null;
        while (true) {
            if ($this->link->conversation->attempt() !== $output->attempt()) {
                $output->begin($this->link->conversation->attempt());
            }
            $bounds?->isIn($status->state);
            $heard = $this->link->next(
                "the job to end ({$status->state->value})",
                $bounds?->deadline(array_sum(self::offsets($output))),
            );
            if ($heard instanceof Data) {
                $output->take($heard->channel, $heard->bytes);
                $this->giveCredit($heard->channel);
            } elseif ($heard instanceof Message\State) {
                $status = $heard->status;
            } elseif ($heard instanceof Message\Result) {
                if ($heard->status->withdrawsOutput()) {
                    $output->begin($heard->status->attempt);
                }

                return new JobAnswer($heard->status, $heard->envelope, $this->ranBy($heard->status));
            } else {
                throw $this->ended($heard);
            }
        }
    }

    public function fetch(string $jobId, #[\SensitiveParameter] string $token, Fetching $fetching): Fetching
    {
        $begin = $fetching->taken();
        $question = ClientMessage::fetch(
            $jobId,
            $token,
            $fetching->product->path,
            $begin,
            self::MAX_FETCH_BYTES - $begin,
            $begin + self::WINDOW_BYTES,
        );
        $this->ask($question);
        $answer = $this->link->next('the node to find the output', $fetching->deadline());
        if (!$answer instanceof Message\Contents) {
            throw $this->ended($answer);
        }
        $this->mustBeAbout($jobId, $answer->jobId);
        $fetching->begin($answer);
        while ($this->link->conversation->phase() === Phase::Fetching) {
            $heard = $this->link->next('the rest of the output', $fetching->deadline());
            if (!$heard instanceof Data) {
                throw $this->ended($heard);
            }
            $fetching->take($heard->bytes);
            if ($this->link->conversation->phase() === Phase::Fetching) {
                $this->giveCredit($heard->channel);
            }
        }

        return $fetching;
    }

    public function watch(string $jobId, #[\SensitiveParameter] string $token, ?\Closure $changed = null): JobStatus
    {
        $nothing = ['stdout' => 0, 'stderr' => 0];
        $this->ask(ClientMessage::attach($jobId, $token, $nothing, $nothing, 0));
        $status = $this->attached($jobId);
        while (true) {
            if ($changed !== null) {
                $changed($status);
            }
            if ($status->state->hasEnded()) {
                return $status;
            }
            $heard = $this->link->next("the job to end ({$status->state->value})");
            $status = $heard instanceof Message\State || $heard instanceof Message\Result
                ? $heard->status
                : throw $this->ended($heard);
        }
    }

    public function status(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->question($jobId, ClientMessage::status($jobId, $token), 'the job\'s status');
    }

    public function cancel(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->question($jobId, ClientMessage::cancel($jobId, $token), 'the job to be cancelled');
    }

    public function release(string $jobId, #[\SensitiveParameter] string $token): JobStatus
    {
        return $this->question($jobId, ClientMessage::release($jobId, $token), 'the job to be released');
    }

    /** End the conversation: its stream is kept if all was said and the node leaves it open, and closed otherwise. */
    public function close(): void
    {
        $keepS = $this->link->conversation->keepS();
        if ($this->isOver) {
            return;
        }
        $this->isOver = true;
        if ($this->keep !== null && $keepS !== null) {
            $features = $this->link->conversation->features();
            ($this->keep)(new KeptStream($this->link->stream, $this->peer, $this->agent, $keepS, $features));
        } else {
            $this->link->close();
        }
    }

    private function greet(?PeerId $expected, Deadline $deadline): void
    {
        $hello = $this->link->next('the node to introduce itself', $deadline);
        if (!$hello instanceof Message\Hello || $hello->peer === null) {
            throw $this->ended($hello);
        }
        foreach ([$expected, $this->link->remotePeer()] as $peer) {
            if ($peer !== null && !$peer->equals($hello->peer)) {
                throw new PeerMismatch("the node that answers is $hello->peer, not $peer");
            }
        }
        $this->peer = $hello->peer;
        $this->agent = $hello->agent;
    }

    private function ask(ClientMessage $question): void
    {
        $this->link->send($this->link->conversation->ask($question));
    }

    private function prove(string $challenge, Channel $channel, SourceInterface $source): void
    {
        $this->link->send($this->link->conversation->prove(self::proof($challenge, $source), $channel));
        $answer = $this->link->next("the node to look for the {$channel->label()}", $this->link->soon());
        if (!$answer instanceof Message\Possessed) {
            throw $this->ended($answer);
        }
    }

    /** @param array<int, SourceInterface> $sources by channel */
    private function upload(array $sources, Deadline $deadline): void
    {
        $soon = $this->link->soon();
        while (($pending = $this->link->conversation->pending()) !== []) {
            if (($heard = $this->link->heard()) !== null) {
                throw $this->ended($heard);
            }
            $sent = false;
            foreach ($pending as $window) {
                if ($window->room() > 0) {
                    $source = $sources[$window->channel->value];
                    $this->link->send($window->send($source->read($window->position(), $window->room())));
                    $sent = true;
                }
            }
            if ($sent) {
                $soon = $this->link->soon();
                $this->link->look('the upload to end');
            } else {
                $this->link->listen('the node to take the upload', $soon);
                $soon->check('the node to take the upload');
            }
            $deadline->check('the upload to end');
        }
    }

    /** Return until when to wait for an answer that takes no work. */
    private function answering(): Deadline
    {
        $soon = $this->link->soon();

        return $this->bounding === null
            ? $soon
            : $soon->orSooner(new Deadline($this->bounding, Bounds::ANSWER_S, 'node'));
    }

    private function accepted(string $jobId, Deadline $deadline): JobStatus
    {
        $doing = 'answering';
        while (true) {
            $heard = $this->link->next("the node to accept the job ($doing)", $deadline);
            if ($heard instanceof Message\Accepted || $heard instanceof Message\Attached) {
                $this->mustBeAbout($jobId, $heard->jobId);

                return $heard->status;
            }
            $doing = $heard instanceof Message\Progress ? $heard->phase : throw $this->ended($heard);
        }
    }

    private function attached(string $jobId): JobStatus
    {
        $answer = $this->link->next('the node to find the job', $this->answering());
        if (!$answer instanceof Message\Attached) {
            throw $this->ended($answer);
        }
        $this->mustBeAbout($jobId, $answer->jobId);

        return $answer->status;
    }

    private function question(string $jobId, ClientMessage $question, string $waitedFor): JobStatus
    {
        $this->ask($question);
        $answer = $this->link->next($waitedFor);
        if (!$answer instanceof Message\StatusIs) {
            throw $this->ended($answer);
        }
        $this->mustBeAbout($jobId, $answer->jobId);

        return $answer->status;
    }

    private function giveCredit(Channel $channel): void
    {
        try {
            $this->link->send($this->link->conversation->credit($channel, self::WINDOW_BYTES));
        } catch (ConnectionLost) {
            // The node may have sent its last message and closed: read the received bytes first.
        }
    }

    /**
     * Return the node that ran a job.
     *
     * A gateway is trusted only over a carrier without identities, such as a socket whose permissions decide who may
     * serve it. Otherwise the receipt must be signed by the dialled node.
     */
    private function ranBy(JobStatus $status): PeerId
    {
        return $this->link->remotePeer() === null ? $status->node ?? $this->peer : $this->peer;
    }

    /** @param array<string, scalar> $facts */
    private function tell(string $what, array $facts): void
    {
        if ($this->watch !== null) {
            ($this->watch)($what, $facts);
        }
    }

    private function mustBeAbout(string $asked, string $answered): void
    {
        if ($asked !== $answered) {
            $this->close();
            throw new ProtocolError("the node answers about the job $answered, not $asked");
        }
    }

    /** Return the exception for a message that ends the conversation. */
    private function ended(Data|NodeMessage $heard): Refused|TransportException
    {
        $this->close();
        if ($heard instanceof Message\Refused) {
            $class = in_array($heard->reason, self::GONE, true) ? UnknownJob::class : Refused::class;

            return new $class($heard->reason, $heard->message, $heard->hint, $heard->retryAfterS);
        }
        if ($heard instanceof Message\Error) {
            $message = Printable::visible("the node ended the conversation: $heard->message ($heard->code)");

            return $heard->code === 'protocol' ? new ProtocolError($message) : new ConnectionLost($message);
        }
        $what = $heard instanceof NodeMessage ? $heard->type() : "bytes of {$heard->channel->label()}";

        return new ProtocolError("$what was not expected");
    }

    /** @return array<string, int> */
    private static function offsets(OutputInterface $output): array
    {
        $offsets = [];
        foreach (Channel::OUTPUTS as $channel) {
            $offsets[$channel->label()] = $output->position($channel);
        }

        return $offsets;
    }
}
