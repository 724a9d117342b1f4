<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Yamux;

use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\StreamReset;
use Plasm\Libp2p\Io\Buffer;
use Plasm\Libp2p\Io\ChannelInterface;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Time\Deadline;

/**
 * A yamux session: many streams on one channel.
 *
 * Source: hashicorp/yamux, spec.md. This side's memory is bounded by the window of each stream, the number of streams
 * and the channel's queue.
 */
final class Session
{
    public const PROTOCOL = '/yamux/1.0.0';

    /** How many bytes each side may send on a new stream before it receives credit. */
    public const INITIAL_WINDOW_BYTES = 256 * 1024;

    /** The payload bytes with which a frame, including its header, fills one Noise message. */
    public const MAX_DATA_BYTES = 65519 - Frame::HEADER_BYTES;

    private const READ_BYTES = 256 * 1024;
    private const MAX_STREAMS = 128;
    private const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;
    private const MAX_STREAM_ID = 0x7FFFFFFF;

    /** @var array<int, Stream> */
    private array $streams = [];

    private readonly Buffer $input;
    private readonly Signal $pong;
    private int $nextId;
    private int $pings = 0;
    private int $pongs = 0;
    private bool $goneAway = false;
    private ?Libp2pException $failure = null;

    /** The frame whose bytes are arriving, and how many are still to come. */
    private ?Frame $frame = null;
    private int $missing = 0;

    /**
     * @param bool $initiator whether this side dialled
     * @param int $windowBytes how many unread bytes the peer may send on a stream
     * @param (\Closure(Stream): void)|null $onStream receives the streams that the peer opens; null refuses them
     */
    public function __construct(
        private readonly ChannelInterface $channel,
        private readonly Loop $loop,
        bool $initiator,
        private readonly int $windowBytes = 1024 * 1024,
        private readonly ?\Closure $onStream = null,
    ) {
        $this->input = new Buffer();
        $this->pong = new Signal($loop);
        $this->nextId = $initiator ? 1 : 2;
        $channel->onReadable($this->pump(...));
        $this->pump();
    }

    /** @throws Libp2pException */
    public function openStream(): Stream
    {
        $this->check();
        if ($this->goneAway || $this->nextId > self::MAX_STREAM_ID) {
            throw new ConnectionClosed('the peer takes no more streams on this connection');
        }
        if (count($this->streams) >= self::MAX_STREAMS) {
            throw new ConnectionClosed('too many streams are open on this connection');
        }
        $stream = $this->stream($this->nextId);
        $this->nextId += 2;
        $this->greet($stream, Frame::SYN);
        $this->check();

        return $stream;
    }

    /**
     * Return the round-trip time in seconds.
     *
     * @throws Libp2pException
     */
    public function ping(Deadline $deadline): float
    {
        $this->check();
        $start = hrtime(true);
        $number = ++$this->pings;
        $this->post(new Frame(Frame::PING, Frame::SYN, 0, $number));
        while ($this->pongs < $number) {
            $this->check();
            $this->pong->wait($deadline, 'the answer to a ping');
        }

        return (hrtime(true) - $start) / 1e9;
    }

    public function isOpen(): bool
    {
        return $this->failure === null && !$this->goneAway;
    }

    /** Send a go-away frame and close the channel. */
    public function close(): void
    {
        $this->end(new ConnectionClosed('the connection is closed'), Frame::NORMAL);
    }

    /** Send a frame without waiting; if that is impossible, the session ends. Only for streams. */
    public function post(Frame $frame): void
    {
        if ($this->failure !== null) {
            return;
        }
        try {
            $this->channel->post($frame->encode());
        } catch (Libp2pException $exception) {
            $this->end($exception);
        }
    }

    /**
     * Send a frame with its bytes, and wait for room. Only for streams.
     *
     * @throws Libp2pException
     */
    public function write(Frame $frame, string $bytes, Deadline $deadline): void
    {
        $this->check();
        try {
            $this->channel->write($frame->encode() . $bytes, $deadline);
        } catch (DeadlinePassed $exception) {
            throw $exception;
        } catch (Libp2pException $exception) {
            $this->end($exception);
            throw $exception;
        }
    }

    /**
     * Send a frame with its bytes if the channel has room for it. Only for streams.
     *
     * @throws Libp2pException
     */
    public function tryWrite(Frame $frame, string $bytes): bool
    {
        $this->check();
        try {
            $this->channel->drain(Deadline::after(0.0));
        } catch (DeadlinePassed) {
            return false;
        }
        $this->write($frame, $bytes, Deadline::after(0.0));

        return true;
    }

    /**
     * Wait until the channel has room. Only for streams.
     *
     * @throws Libp2pException
     */
    public function drain(Deadline $deadline): void
    {
        $this->check();
        $this->channel->drain($deadline);
    }

    /** Drop a stream that has ended. Only for streams. */
    public function forget(int $id): void
    {
        unset($this->streams[$id]);
    }

    private function pump(): void
    {
        try {
            $bytes = $this->failure === null ? $this->channel->tryRead(self::READ_BYTES) : null;
            if ($bytes === '') {
                throw new ConnectionClosed('the peer closed the connection');
            }
            if ($bytes !== null) {
                $this->input->append($bytes);
                $this->parse();
            }
        } catch (ProtocolViolation $exception) {
            $this->end($exception, Frame::PROTOCOL_ERROR);
        } catch (Libp2pException $exception) {
            $this->end($exception);
        }
    }

    private function parse(): void
    {
        while ($this->failure === null) {
            if ($this->frame === null) {
                if ($this->input->length() < Frame::HEADER_BYTES) {
                    return;
                }
                $this->begin(Frame::decode($this->input->take(Frame::HEADER_BYTES)));
            } elseif ($this->missing > 0) {
                $bytes = $this->input->take($this->missing);
                if ($bytes === '') {
                    return;
                }
                $this->missing -= strlen($bytes);
                ($this->streams[$this->frame->stream] ?? null)?->receive($bytes);
            } else {
                $frame = $this->frame;
                $this->frame = null;
                $this->conclude($frame);
            }
        }
    }

    /** Process a frame's header before its bytes arrive. */
    private function begin(Frame $frame): void
    {
        $this->frame = $frame;
        if ($frame->type >= Frame::PING) {
            return;
        }
        if ($frame->has(Frame::SYN)) {
            $this->accept($frame->stream);
        }
        $stream = $this->streams[$frame->stream] ?? null;
        if ($frame->type === Frame::WINDOW_UPDATE) {
            $stream?->credit($frame->length);

            return;
        }
        $stream?->announce($frame->length);
        if ($frame->length > self::MAX_DISCARDED_BYTES) {
            throw new ProtocolViolation('a frame of yamux is too long');
        }
        $this->missing = $frame->length;
    }

    /** Take a frame's flags, once its bytes have come. */
    private function conclude(Frame $frame): void
    {
        if ($frame->type === Frame::GO_AWAY) {
            $this->goneAway = true;
            if ($frame->length !== Frame::NORMAL) {
                throw new ConnectionClosed("the peer ended the connection with code $frame->length");
            }
        } elseif ($frame->type === Frame::PING) {
            if ($frame->has(Frame::SYN)) {
                $this->post(new Frame(Frame::PING, Frame::ACK, 0, $frame->length));
            } elseif ($frame->length <= $this->pings) {
                $this->pongs = max($this->pongs, $frame->length);
                $this->pong->notify();
            }
        } elseif ($frame->has(Frame::RST)) {
            ($this->streams[$frame->stream] ?? null)?->fail(new StreamReset('the peer reset the stream'));
            $this->forget($frame->stream);
        } elseif ($frame->has(Frame::FIN)) {
            ($this->streams[$frame->stream] ?? null)?->finish();
        }
    }

    private function accept(int $id): void
    {
        if ($id % 2 === $this->nextId % 2 || isset($this->streams[$id])) {
            throw new ProtocolViolation('the peer opens a stream that is not its to open');
        }
        if ($this->onStream === null || count($this->streams) >= self::MAX_STREAMS) {
            $this->post(new Frame(Frame::WINDOW_UPDATE, Frame::RST, $id, 0));

            return;
        }
        $stream = $this->stream($id);
        $this->greet($stream, Frame::ACK);
        ($this->onStream)($stream);
    }

    private function stream(int $id): Stream
    {
        return $this->streams[$id] = new Stream($this, $id, $this->windowBytes, new Signal($this->loop));
    }

    /** Announce a stream to the peer, or accept the peer's, and grant the window beyond the initial one. */
    private function greet(Stream $stream, int $flag): void
    {
        $more = $this->windowBytes - self::INITIAL_WINDOW_BYTES;
        $this->post(new Frame(Frame::WINDOW_UPDATE, $flag, $stream->id, $more));
    }

    private function end(Libp2pException $reason, ?int $code = null): void
    {
        if ($this->failure !== null) {
            return;
        }
        if ($code !== null) {
            try {
                $this->channel->post((new Frame(Frame::GO_AWAY, 0, 0, $code))->encode());
            } catch (Libp2pException) {
                // It is ending anyway.
            }
        }
        $this->failure = $reason;
        $this->channel->close();
        $this->input->clear();
        foreach ($this->streams as $stream) {
            $stream->fail($reason);
        }
        $this->streams = [];
        $this->pong->notify();
    }

    private function check(): void
    {
        if ($this->failure !== null) {
            throw $this->failure;
        }
    }
}
