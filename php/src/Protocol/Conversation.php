<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Exception\ProtocolError;

/**
 * The client's side of one conversation, without I/O: received bytes become messages, its messages become bytes.
 *
 * The node is not trusted: this class checks which messages it may send, when, and how many bytes.
 */
final class Conversation
{
    private const LEAST_CREDIT_BYTES = 1024;

    private Phase $phase;
    private bool $isKept = false;
    private int $attempt = 0;
    private readonly FrameReader $reader;
    private ?ClientMessage $asked = null;

    /** @var array<int, SendWindow> */
    private array $uploads = [];

    /** @var array<int, ReceiveWindow> */
    private array $outputs = [];

    /** @var array<int, true> the channels whose possession is being proved */
    private array $proving = [];

    /** @var list<string> */
    private array $features;

    /** How many messages the node has sent of the kinds that may be repeated without limit. */
    private int $talk = 0;

    /**
     * @param int|null $keepS from the node's `hello`, if this is not the first conversation on the stream
     * @param list<string> $features as well
     */
    public function __construct(private ?int $keepS = null, array $features = [])
    {
        $this->features = $features;
        $this->phase = $keepS === null ? Phase::Greeting : Phase::Opening;
        $this->reader = new FrameReader();
    }

    /** Take the node's bytes, which `next()` makes messages of. */
    public function feed(string $bytes): void
    {
        $this->reader->feed($bytes);
    }

    /**
     * Return the node's next message, or data of its outputs; null if there is none.
     *
     * Heartbeats and credit are not returned. A repeated attempt sends its outputs from offset 0, after the state
     * that announces it.
     *
     * @throws ProtocolError
     */
    public function next(): Data|NodeMessage|null
    {
        while (($frame = $this->reader->next()) !== null) {
            if (
                $frame instanceof Message\Heartbeat
                || $frame instanceof Message\Progress
                || $frame instanceof Message\State
            ) {
                $this->talk++;
            }
            if ($frame instanceof Message\Heartbeat) {
                continue;
            }
            if ($frame instanceof Message\Credit) {
                $this->grow($frame);
                continue;
            }
            if ($frame instanceof Data) {
                $this->take($frame);
            } else {
                $this->check($frame);
            }

            return $frame;
        }

        return null;
    }

    /** Return how many messages have arrived of the kinds that may be repeated without limit. */
    public function talk(): int
    {
        return $this->talk;
    }

    public function phase(): Phase
    {
        return $this->phase;
    }

    /** Return the attempt that the outputs are of. */
    public function attempt(): int
    {
        return $this->attempt;
    }

    /** Return for how many seconds the node keeps a stream on which all is said; null if it closes it. */
    public function keepS(): ?int
    {
        return $this->isKept && $this->phase === Phase::Over && $this->reader->isBetweenFrames() ? $this->keepS : null;
    }

    /** @return list<string> the node's optional features */
    public function features(): array
    {
        return $this->features;
    }

    /** Encode the request: the client's first message, sent once. */
    public function ask(ClientMessage $message): string
    {
        if ($this->asked !== null) {
            throw new \LogicException('a conversation has one first message');
        }
        $message = $this->keepS === null ? $message : $message->keeping();
        $this->asked = $message;
        if ($this->phase === Phase::Opening) {
            $this->phase = Phase::Asking;
        }

        return Frame::control($message);
    }

    /** Prove to have the module, or the files, before any of it is sent. Nothing of it may be until the answer came. */
    public function prove(string $proof, Channel $channel = Channel::Module): string
    {
        if ($this->phase !== Phase::Uploading || isset($this->proving[$channel->value])) {
            throw new \LogicException("not a time to prove anything: {$this->phase->value}");
        }
        $this->proving[$channel->value] = true;

        return Frame::control(ClientMessage::possession($proof, $channel));
    }

    /**
     * Return the uploads that are not complete; of each, `room()` tells how much may be sent now.
     *
     * @return list<SendWindow>
     */
    public function pending(): array
    {
        if ($this->phase !== Phase::Uploading) {
            return [];
        }

        return array_values(array_filter(
            $this->uploads,
            fn (SendWindow $window): bool => !$window->isComplete() && !isset($this->proving[$window->channel->value]),
        ));
    }

    /** Tell whether all there is to upload has been sent. */
    public function isUploaded(): bool
    {
        foreach ($this->uploads as $window) {
            if (!$window->isComplete()) {
                return false;
            }
        }

        return true;
    }

    /** Give credit for an output; returns no bytes if it is too early. */
    public function credit(Channel $channel, int $windowBytes): string
    {
        $upto = $this->output($channel)->grant($windowBytes);

        return $upto === null ? '' : Frame::control(ClientMessage::credit($channel, $upto, $this->attempt));
    }

    private function check(NodeMessage $message): void
    {
        match (true) {
            $message instanceof Message\Error => $this->phase = Phase::Over,
            $this->phase === Phase::Greeting && $message instanceof Message\Hello => $this->greet($message),
            $this->phase === Phase::Asking => $this->answer($message),
            $this->phase === Phase::Uploading => $this->uploading($message),
            $this->phase === Phase::Following => $this->following($message),
            default => throw $this->misplaced($message),
        };
    }

    private function greet(Message\Hello $hello): void
    {
        $this->keepS = $hello->keepS;
        $this->features = $hello->features;
        $this->phase = $this->asked === null ? Phase::Opening : Phase::Asking;
    }

    /** Note the node's last message. */
    private function end(): void
    {
        $this->phase = Phase::Over;
        $this->isKept = ($this->asked->fields['keep'] ?? false) === true;
    }

    private function answer(NodeMessage $message): void
    {
        $asked = $this->asked ?? throw new \LogicException('nothing was asked');
        $isExpected = match ($asked->type) {
            'submit' => $message instanceof Message\Offered || $message instanceof Message\Attached,
            'attach' => $message instanceof Message\Attached,
            'fetch' => $message instanceof Message\Contents,
            'capabilities' => $message instanceof Message\Capabilities,
            default => $message instanceof Message\StatusIs,
        };
        if ($message instanceof Message\Refused) {
            $this->phase = Phase::Over;
        } elseif (!$isExpected) {
            throw new ProtocolError("$asked->type was answered by {$message->type()}");
        } elseif ($message instanceof Message\Offered) {
            $this->startUpload($message, $asked);
        } elseif ($message instanceof Message\Contents) {
            $this->startFetch($message, $asked);
        } elseif ($message instanceof Message\Attached) {
            $isKnown = ($asked->fields['attempt'] ?? null) === $message->status->attempt;
            $this->follow($message->status->attempt, $isKnown ? self::counts($asked, 'offsets') : []);
        } else {
            $this->end();
        }
    }

    private function startUpload(Message\Offered $offered, ClientMessage $asked): void
    {
        $sizes = self::counts($asked, 'sizes');
        foreach (isset($sizes['files']) ? [...Channel::UPLOADS, Channel::Files] : Channel::UPLOADS as $channel) {
            $size = $sizes[$channel->label()];
            if (!isset($offered->received[$channel->value], $offered->credit[$channel->value])) {
                throw new ProtocolError("the offer says nothing of {$channel->label()}");
            }
            $received = $offered->received[$channel->value];
            if ($received > $size) {
                throw new ProtocolError("$received bytes of {$channel->label()} received, of $size");
            }
            $credit = $offered->credit[$channel->value];
            $this->uploads[$channel->value] = new SendWindow($channel, $size, $received, $credit);
        }
        $this->phase = Phase::Uploading;
    }

    private function startFetch(Message\Contents $contents, ClientMessage $asked): void
    {
        ['offset' => $offset, 'length' => $length, 'credit' => $credit] = $asked->fields;
        assert(is_int($offset) && is_int($length) && is_int($credit));
        if ($contents->kind === 'none' && $contents->size > 0) {
            throw new ProtocolError("$contents->size bytes of a missing output");
        }
        $end = max($offset, min($offset + $length, $contents->size));
        $window = new ReceiveWindow(Channel::Contents, $offset, max($credit, $offset), $end);
        $this->outputs = [Channel::Contents->value => $window];
        $this->phase = Phase::Fetching;
        if ($window->isComplete()) {
            $this->end();
        }
    }

    private function take(Data $data): void
    {
        $window = $this->output($data->channel);
        $window->take($data);
        if ($this->phase === Phase::Fetching && $window->isComplete()) {
            $this->end();
        }
    }

    private function uploading(NodeMessage $message): void
    {
        if ($message instanceof Message\Refused) {
            $this->phase = Phase::Over;
        } elseif ($message instanceof Message\Possessed && isset($this->proving[$message->channel->value])) {
            unset($this->proving[$message->channel->value]);
            if ($message->known) {
                $this->uploads[$message->channel->value]->complete();
            }
        } elseif (!$this->isUploaded()) {
            throw $this->misplaced($message);
        } elseif ($message instanceof Message\Accepted || $message instanceof Message\Attached) {
            $this->follow($message->status->attempt, []);
        } elseif (!$message instanceof Message\Progress) {
            throw $this->misplaced($message);
        }
    }

    private function following(NodeMessage $message): void
    {
        if ($message instanceof Message\State) {
            if ($message->status->attempt < $this->attempt) {
                throw new ProtocolError('the number of attempts fell');
            }
            if ($message->status->attempt > $this->attempt) {
                $this->follow($message->status->attempt, []);
            }
        } elseif ($message instanceof Message\Result) {
            $this->finish($message);
        } else {
            throw $this->misplaced($message);
        }
    }

    /** @param array<string, int> $offsets where each output begins, if not at 0 */
    private function follow(int $attempt, array $offsets): void
    {
        $this->phase = Phase::Following;
        $this->attempt = $attempt;
        $credit = self::counts($this->asked ?? throw new \LogicException('nothing was asked'), 'credit');
        foreach (Channel::OUTPUTS as $channel) {
            $offset = $offsets[$channel->label()] ?? 0;
            $upto = max($offset, $credit[$channel->label()]);
            $this->outputs[$channel->value] = new ReceiveWindow($channel, $offset, $upto);
        }
        if (($this->asked->fields['follow'] ?? true) === false) {
            $this->end();
        }
    }

    private function finish(Message\Result $result): void
    {
        $status = $result->status;
        if (!$status->state->hasEnded()) {
            throw new ProtocolError("a result in state {$status->state->value}");
        }
        if ($status->attempt !== $this->attempt) {
            throw new ProtocolError('a result of another attempt');
        }
        if ($status->withdrawsOutput()) {
            $this->end();

            return;
        }
        $sizes = [Channel::Stdout->value => $status->stdoutBytes, Channel::Stderr->value => $status->stderrBytes];
        foreach (Channel::OUTPUTS as $channel) {
            $position = $this->outputs[$channel->value]->position();
            $size = $sizes[$channel->value];
            if ($position !== $size) {
                throw new ProtocolError("a result after $position of $size bytes of {$channel->label()}");
            }
        }
        $this->end();
    }

    private function grow(Message\Credit $credit): void
    {
        $window = $this->uploads[$credit->channel->value] ?? throw new ProtocolError(
            "credit for {$credit->channel->label()} has no place where {$this->phase->value}",
        );
        $more = $window->size - $window->upto();
        $grew = min($credit->upto, $window->size) - $window->upto();
        if ($grew < min(self::LEAST_CREDIT_BYTES, max(1, $more))) {
            $this->talk++;
        }
        $window->grow($credit->upto);
    }

    private function output(Channel $channel): ReceiveWindow
    {
        $isSending = $this->phase === Phase::Following || $this->phase === Phase::Fetching;
        if (!$isSending || !isset($this->outputs[$channel->value])) {
            throw new ProtocolError("bytes of {$channel->label()} have no place where {$this->phase->value}");
        }

        return $this->outputs[$channel->value];
    }

    private function misplaced(NodeMessage $message): ProtocolError
    {
        return new ProtocolError("{$message->type()} has no place where {$this->phase->value}");
    }

    /** @return array<string, int> */
    private static function counts(ClientMessage $message, string $name): array
    {
        $counts = $message->fields[$name] ?? [];
        assert(is_array($counts));

        return $counts;
    }
}
