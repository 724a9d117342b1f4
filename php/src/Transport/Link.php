<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\TimedOut;
use Plasm\Exception\TransportException;
use Plasm\PeerId;
use Plasm\Protocol\ClientMessage;
use Plasm\Protocol\Conversation;
use Plasm\Protocol\Data;
use Plasm\Protocol\Frame;
use Plasm\Protocol\NodeMessage;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;

/** A stream with its conversation: heartbeats while it waits, and a limit on every silence. */
final class Link
{
    private const HEARTBEAT_S = 10.0;
    private const READ_BYTES = 65_536;

    /** How many heartbeats, progress and state messages and tiny credits may come at once, and how many more each second. */
    private const TALK_BURST = 1000;
    private const TALK_PER_S = 200.0;

    public readonly Conversation $conversation;

    /** The node's next message, if it was received but not returned yet. */
    private Data|NodeMessage|null $heard = null;

    private float $lastSent;
    private float $lastHeard;
    private readonly float $began;

    /**
     * @param Deadline $deadline of the whole conversation
     * @param int|null $keepS as of `Conversation`
     * @param list<string> $features as of `Conversation`
     */
    public function __construct(
        public readonly StreamInterface $stream,
        public readonly Deadline $deadline,
        private readonly float $idleS,
        private readonly ClockInterface $clock,
        ?int $keepS = null,
        array $features = [],
    ) {
        $this->conversation = new Conversation($keepS, $features);
        $this->began = $this->lastSent = $this->lastHeard = $clock->now();
    }

    /** Return the identity that the node proved; null if the carrier proves none. */
    public function remotePeer(): ?PeerId
    {
        return $this->stream->remotePeer();
    }

    /**
     * Send bytes that the conversation encoded.
     *
     * @throws TransportException
     */
    public function send(string $bytes): void
    {
        if ($bytes === '') {
            return;
        }
        try {
            $this->stream->write($bytes, min($this->idleS, $this->deadline->remaining()));
        } catch (TimedOut $exception) {
            $this->deadline->check($exception->waitedFor);
            throw $exception;
        }
        $this->lastSent = $this->clock->now();
    }

    /**
     * Wait for the node's next message, and return it.
     *
     * @throws TransportException
     */
    public function next(string $waitedFor, ?Deadline $deadline = null): Data|NodeMessage
    {
        $deadline = $this->deadline->orSooner($deadline ?? $this->deadline);
        // Checked at each message, because a peer that never stops sending is never waited for.
        $deadline->check($waitedFor);
        while (($heard = $this->heard()) === null) {
            $this->listen($waitedFor, $deadline);
            $deadline->check($waitedFor);
        }
        $this->heard = null;

        return $heard;
    }

    /**
     * Return the message that `next` would return without waiting; null if there is none.
     *
     * @throws ProtocolError
     */
    public function heard(): Data|NodeMessage|null
    {
        try {
            $this->heard ??= $this->conversation->next();
            // A node that sends messages without end costs this side more than itself.
            $allowed = self::TALK_BURST + self::TALK_PER_S * ($this->clock->now() - $this->began);
            if ($this->conversation->talk() > $allowed) {
                throw new ProtocolError("the node has sent {$this->conversation->talk()} messages without progress");
            }

            return $this->heard;
        } catch (ProtocolError $exception) {
            $this->complain($exception);
            throw $exception;
        }
    }

    /** Return the deadline for an answer that needs no work; heartbeats do not extend it. */
    public function soon(): Deadline
    {
        return $this->deadline->orSooner(new Deadline($this->clock, $this->idleS, 'idle'));
    }

    /** Return the earlier of a deadline and the conversation's own. */
    public function until(Deadline $deadline): Deadline
    {
        return $this->deadline->orSooner($deadline);
    }

    /**
     * Receive the bytes that have arrived, without waiting.
     *
     * @throws TransportException
     */
    public function look(string $waitedFor): void
    {
        $this->take($this->stream->read(self::READ_BYTES, 0), $waitedFor);
    }

    /**
     * Wait for bytes, until a heartbeat is due or a limit is reached.
     *
     * @throws TransportException
     */
    public function listen(string $waitedFor, Deadline $deadline): void
    {
        $now = $this->clock->now();
        $idle = $this->lastHeard + $this->idleS - $now;
        $heartbeat = $this->lastSent + self::HEARTBEAT_S - $now;
        $bytes = $this->stream->read(self::READ_BYTES, max(0.0, min($idle, $heartbeat, $deadline->remaining())));
        $this->take($bytes, $waitedFor);
        if ($bytes !== null) {
            return;
        }
        $deadline->check($waitedFor);
        if ($this->clock->now() - $this->lastHeard >= $this->idleS) {
            throw new TimedOut($waitedFor, $this->idleS, 'idle');
        }
        if ($this->clock->now() - $this->lastSent >= self::HEARTBEAT_S) {
            $this->send(Frame::control(ClientMessage::heartbeat()));
        }
    }

    /** End the stream. Never throws; doing it twice is harmless. */
    public function close(): void
    {
        $this->stream->close();
    }

    private function take(?string $bytes, string $waitedFor): void
    {
        if ($bytes === null) {
            return;
        }
        if ($bytes === '') {
            $this->close();
            throw new ConnectionLost("the node closed the stream; waited for $waitedFor");
        }
        $this->lastHeard = $this->clock->now();
        $this->conversation->feed($bytes);
    }

    private function complain(ProtocolError $error): void
    {
        $message = substr((string) preg_replace('/[^\x20-\x7e]+/', ' ', $error->getMessage()), 0, 500);
        try {
            $this->send(Frame::control(ClientMessage::error('protocol', $message)));
        } catch (TransportException) {
            // Tell the node, if the connection still works.
        }
        $this->close();
    }
}
