<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Yamux;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\StreamClosed;
use Plasm\Libp2p\Exception\StreamReset;
use Plasm\Libp2p\Io\Buffer;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\StreamInterface;
use Plasm\Time\Deadline;

/**
 * One stream of a session, with its flow control: no side sends more than the other granted.
 *
 * Source: hashicorp/yamux, spec.md, "Flow Control" and "Stream Half-Close".
 */
final class Stream implements StreamInterface
{
    private readonly Buffer $received;
    private int $sendWindow = Session::INITIAL_WINDOW_BYTES;
    private int $receiveWindow;
    private int $consumed = 0;
    private bool $finSent = false;
    private bool $finReceived = false;
    private ?Libp2pException $failure = null;

    /** @var (\Closure(): void)|null */
    private ?\Closure $callback = null;

    public function __construct(
        private readonly Session $session,
        public readonly int $id,
        private readonly int $windowBytes,
        private readonly Signal $changed,
    ) {
        $this->received = new Buffer();
        $this->receiveWindow = $windowBytes;
    }

    public function read(int $max, Deadline $deadline): string
    {
        while ($this->received->length() === 0) {
            if ($this->finReceived) {
                return '';
            }
            $this->check();
            $this->changed->wait($deadline, 'bytes on a stream');
        }

        return $this->take($max);
    }

    /**
     * Return the bytes that have arrived, up to `$max`; null if there are none, '' at the end.
     *
     * @throws Libp2pException
     */
    public function tryRead(int $max): ?string
    {
        if ($this->received->length() > 0) {
            return $this->take($max);
        }
        if ($this->finReceived) {
            return '';
        }
        $this->check();

        return null;
    }

    /** How many received bytes have not been read. */
    public function available(): int
    {
        return $this->received->length();
    }

    /** @param (\Closure(): void)|null $callback called when `tryRead` may have something; null ends it */
    public function onReadable(?\Closure $callback): void
    {
        $this->callback = $callback;
    }

    /**
     * Send as many bytes as possible without waiting, and return their number.
     *
     * @throws Libp2pException
     */
    public function tryWrite(string $bytes): int
    {
        $this->checkWritable();
        $count = min(strlen($bytes), $this->sendWindow, Session::MAX_DATA_BYTES);
        if ($count > 0) {
            $frame = new Frame(Frame::DATA, 0, $this->id, $count);
            if (!$this->session->tryWrite($frame, substr($bytes, 0, $count))) {
                return 0;
            }
            $this->sendWindow -= $count;
        }

        return $count;
    }

    /**
     * Wait until something can be sent.
     *
     * @throws Libp2pException
     */
    public function waitForRoom(Deadline $deadline): void
    {
        $this->checkWritable();
        while ($this->sendWindow === 0) {
            $this->changed->wait($deadline, 'the peer to make room on a stream');
            $this->checkWritable();
        }
        $this->session->drain($deadline);
    }

    private function take(int $max): string
    {
        $bytes = $this->received->take($max);
        $this->consumed += strlen($bytes);
        if ($this->consumed >= $this->windowBytes >> 1 && !$this->finReceived && $this->failure === null) {
            $this->receiveWindow += $this->consumed;
            $this->session->post(new Frame(Frame::WINDOW_UPDATE, 0, $this->id, $this->consumed));
            $this->consumed = 0;
        }

        return $bytes;
    }

    public function write(string $bytes, Deadline $deadline): void
    {
        for ($offset = 0; $offset < strlen($bytes); $offset += $count) {
            $this->checkWritable();
            while ($this->sendWindow === 0) {
                $this->changed->wait($deadline, 'the peer to make room on a stream');
                $this->checkWritable();
            }
            $count = min(strlen($bytes) - $offset, $this->sendWindow, Session::MAX_DATA_BYTES);
            $this->sendWindow -= $count;
            $this->session->write(new Frame(Frame::DATA, 0, $this->id, $count), substr($bytes, $offset, $count), $deadline);
        }
    }

    public function closeWrite(): void
    {
        if ($this->finSent) {
            return;
        }
        $this->checkWritable();
        $this->finSent = true;
        $this->session->post(new Frame(Frame::WINDOW_UPDATE, Frame::FIN, $this->id, 0));
        $this->forgetIfEnded();
    }

    public function close(): void
    {
        if ($this->failure === null) {
            if (!$this->finSent) {
                $this->session->post(new Frame(Frame::WINDOW_UPDATE, Frame::FIN, $this->id, 0));
            }
            $this->leave(new StreamClosed('the stream is closed on this side'));
        }
    }

    public function reset(): void
    {
        if ($this->failure === null) {
            if (!$this->finSent || !$this->finReceived) {
                $this->session->post(new Frame(Frame::WINDOW_UPDATE, Frame::RST, $this->id, 0));
            }
            $this->leave(new StreamReset('the stream was reset on this side'));
        }
    }

    /** Take credit from the peer. Only for the session. */
    public function credit(int $bytes): void
    {
        $this->sendWindow = min($this->sendWindow + $bytes, 0xFFFFFFFF);
        $this->changed->notify();
    }

    /**
     * See whether the peer may send that much. Only for the session.
     *
     * @throws ProtocolViolation
     */
    public function announce(int $bytes): void
    {
        if ($bytes > $this->receiveWindow || ($this->finReceived && $bytes > 0)) {
            throw new ProtocolViolation('the peer sends more on a stream than it may');
        }
        $this->receiveWindow -= $bytes;
    }

    /** Take bytes that were announced. Only for the session. */
    public function receive(string $bytes): void
    {
        if ($this->failure === null) {
            $this->received->append($bytes);
            $this->tell();
        }
    }

    /** Take the end of the peer's direction. Only for the session. */
    public function finish(): void
    {
        $this->finReceived = true;
        $this->forgetIfEnded();
        $this->tell();
    }

    /** Take the end of the stream, or of all of the connection. Only for the session. */
    public function fail(Libp2pException $reason): void
    {
        $this->failure ??= $reason;
        if (!$this->finReceived) {
            $this->received->clear();
        }
        $this->tell();
    }

    private function tell(): void
    {
        $this->changed->notify();
        if ($this->callback !== null) {
            ($this->callback)();
        }
    }

    private function leave(Libp2pException $reason): void
    {
        $this->finReceived = false;
        $this->fail($reason);
        $this->session->forget($this->id);
    }

    private function forgetIfEnded(): void
    {
        if ($this->finSent && $this->finReceived) {
            $this->session->forget($this->id);
        }
    }

    private function checkWritable(): void
    {
        $this->check();
        if ($this->finSent) {
            throw new StreamClosed('this side of the stream is closed');
        }
    }

    private function check(): void
    {
        if ($this->failure !== null) {
            throw $this->failure;
        }
    }
}
