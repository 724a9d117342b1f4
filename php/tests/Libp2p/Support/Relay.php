<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p\Support;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Protobuf;
use Plasm\Libp2p\Relay\HopMessage;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** A relay of the tests: joins streams of clients with connections to nodes, and keeps what it has seen. */
final class Relay
{
    public string $seen = '';
    public int $circuits = 0;
    public readonly Node $node;

    /** @var array<string, Node> by PeerId */
    private array $behind = [];

    public function __construct(private readonly Loop $loop)
    {
        $this->node = Node::honest($loop, [HopMessage::PROTOCOL => $this->serve(...)]);
    }

    /** Return the address of a node through this relay, which brings clients there from now on. */
    public function to(Node $node): string
    {
        $this->behind[(string) $node->identity->peer] = $node;

        return "{$this->node->address()}/p2p-circuit/p2p/{$node->identity->peer}";
    }

    private function serve(Stream $stream, Deadline $deadline): void
    {
        $peer = null;
        foreach (Protobuf::read(Framing::readMessage($stream, 4096, $deadline)) as [$field, $value]) {
            $peer = $field === 2 ? PeerId::fromMultihash((string) Protobuf::read((string) $value)[0][1]) : $peer;
        }
        $node = $this->behind[(string) $peer] ?? null;
        $answer = Protobuf::number(1, 2) . Protobuf::number(5, $node === null ? 204 : 100);
        $stream->write(Framing::frame($answer), $deadline);
        if ($node === null) {
            $stream->closeWrite();

            return;
        }
        $this->circuits++;
        $endpoint = $node->address()->tcp();
        assert($endpoint !== null);
        $socket = Socket::connect($this->loop, $endpoint->host, $endpoint->port, $deadline);
        $this->loop->spawn(function () use ($stream, $socket, $deadline): void {
            $this->carry($stream, $socket, $deadline);
            $socket->close();
        });
        $this->carry($socket, $stream, $deadline);
        $stream->reset();
    }

    private function carry(Stream|Socket $from, Stream|Socket $to, Deadline $deadline): void
    {
        try {
            while (($bytes = $from->read(65536, $deadline)) !== '') {
                $this->seen = substr($this->seen . $bytes, -1_000_000);
                $to->write($bytes, $deadline);
            }
        } catch (Libp2pException) {
            // Either side may leave.
        }
    }
}
