<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Relay;

use Plasm\Libp2p\Connection;
use Plasm\Libp2p\Dial;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\RelayRefused;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Connections to relays: one to each, shared by the circuits through it, for as long as there are any. */
final class Relays
{
    /** @var array<string, Connection> by PeerId */
    private array $connections = [];

    /** @var array<string, int> how many circuits each has or is to get */
    private array $users = [];

    /** @var array<string, Dial> */
    private array $dials = [];

    /** @param \Closure(Multiaddr, Deadline, bool): Connection $connect dials directly */
    public function __construct(private readonly Loop $loop, private readonly \Closure $connect)
    {
    }

    /**
     * Have a relay make a circuit to a peer. Noise and yamux are to be spoken on it from end to end.
     *
     * @throws RelayRefused
     * @throws Libp2pException
     */
    public function circuit(Multiaddr $relay, PeerId $peer, Deadline $deadline, bool $publicOnly): Circuit
    {
        $name = (string) ($relay->peer() ?? throw new UnsupportedAddress("the address $relay names no relay"));
        $this->users[$name] = ($this->users[$name] ?? 0) + 1;
        $stream = null;
        try {
            // The request waits until the node has said that it relays: one that does not would reset the stream.
            $stream = $this->connection($name, $relay, $deadline, $publicOnly)->openStream(HopMessage::PROTOCOL, $deadline);
            $stream->write(Framing::frame(HopMessage::connect($peer)), $deadline);
            HopMessage::check(Framing::readMessage($stream, HopMessage::MAX_BYTES, $deadline));
            if (!$stream instanceof Stream) {
                throw new \LogicException('a circuit is made of a stream of yamux');
            }

            return new Circuit($stream, $this->loop, fn () => $this->release($name));
        } catch (\Throwable $exception) {
            $stream?->reset();
            if ($exception instanceof ProtocolViolation) {
                ($this->connections[$name] ?? null)?->close();
            }
            $this->release($name);
            throw $exception;
        }
    }

    /** Return the connection to a relay; concurrent callers share one dial. */
    private function connection(string $name, Multiaddr $relay, Deadline $deadline, bool $publicOnly): Connection
    {
        while (!isset($this->connections[$name]) || !$this->connections[$name]->isOpen()) {
            $dial = $this->dials[$name] ?? null;
            if ($dial !== null) {
                $dial->wait($deadline);
                continue;
            }
            $dial = $this->dials[$name] = new Dial($this->loop, PeerId::parse($name));
            $failure = null;
            try {
                $this->connections[$name] = ($this->connect)($relay, $deadline, $publicOnly);
            } catch (\Throwable $failure) {
                throw $failure;
            } finally {
                unset($this->dials[$name]);
                $dial->end($failure);
            }
        }

        return $this->connections[$name];
    }

    private function release(string $name): void
    {
        $this->users[$name] = ($this->users[$name] ?? 1) - 1;
        if ($this->users[$name] <= 0) {
            $connection = $this->connections[$name] ?? null;
            unset($this->users[$name], $this->connections[$name]);
            $connection?->close();
        }
    }
}
