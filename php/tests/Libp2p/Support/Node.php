<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p\Support;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\Multistream;
use Plasm\Libp2p\Noise\SecureChannel;
use Plasm\Libp2p\PeerInfo;
use Plasm\Libp2p\Yamux\Session;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Time\Deadline;

/** The other side of a test: a node on loopback, in the test's own loop, that does what its script says. */
final class Node
{
    private const PATIENCE_S = 20.0;

    public int $accepted = 0;

    /** @var list<Socket> */
    private array $sockets = [];

    /** @var list<Session> */
    public array $sessions = [];

    /** @var resource */
    private $server;

    /** @param \Closure(Socket, self): void $script runs as a task for each connection */
    public function __construct(
        private readonly Loop $loop,
        \Closure $script,
        public readonly Identity $identity,
        string $listen = '127.0.0.1',
    ) {
        $server = stream_socket_server(
            "tcp://$listen:0",
            context: stream_context_create(['socket' => ['tcp_nodelay' => true]]),
        );
        assert($server !== false);
        $this->server = $server;
        $loop->onReadable($server, function () use ($script): void {
            $accepted = @stream_socket_accept($this->server, 0);
            if ($accepted === false) {
                return;
            }
            $this->accepted++;
            $this->sockets[] = $socket = new Socket($this->loop, $accepted);
            $this->loop->spawn(function () use ($script, $socket): void {
                try {
                    $script($socket, $this);
                } catch (Libp2pException) {
                    // The client went away, as clients do.
                }
            });
        });
    }

    /** @param \Closure(Socket, self): void $script */
    public static function scripted(Loop $loop, \Closure $script): self
    {
        return new self($loop, $script, Identity::ephemeral());
    }

    /**
     * Start a node that does as it should.
     *
     * @param array<string, \Closure(Stream, Deadline): void> $protocols
     */
    public static function honest(Loop $loop, array $protocols, string $listen = '127.0.0.1'): self
    {
        $script = static fn (Socket $socket, self $node): Session => $node->serve($node->upgrade($socket), $protocols);

        return new self($loop, $script, Identity::ephemeral(), $listen);
    }

    public static function deadline(): Deadline
    {
        return Deadline::after(self::PATIENCE_S);
    }

    public function address(): Multiaddr
    {
        $name = (string) stream_socket_get_name($this->server, false);
        $port = (int) substr((string) strrchr($name, ':'), 1);
        $ip = $name[0] === '[' ? '/ip6/::1' : '/ip4/' . explode(':', $name)[0];

        return Multiaddr::parse("$ip/tcp/$port/p2p/{$this->identity->peer}");
    }

    public function info(): PeerInfo
    {
        return new PeerInfo($this->identity->peer, [$this->address()]);
    }

    /** Go as far as Noise. */
    public function secure(Socket $socket): SecureChannel
    {
        Multistream::accept($socket, [SecureChannel::PROTOCOL], self::deadline());

        return SecureChannel::respond($socket, $this->identity, self::deadline());
    }

    /** Go as far as yamux. */
    public function upgrade(Socket $socket): SecureChannel
    {
        $secure = $this->secure($socket);
        Multistream::accept($secure, [Session::PROTOCOL], self::deadline());

        return $secure;
    }

    /** Go as far as yamux on a circuit's other end, at which the relay takes no more after so many bytes. */
    public function upgradeStream(Stream $stream, int $stopAfter = PHP_INT_MAX): SecureChannel
    {
        $channel = new CircuitEnd($stream, $stopAfter);
        Multistream::accept($channel, [SecureChannel::PROTOCOL], self::deadline());
        $secure = SecureChannel::respond($channel, $this->identity, self::deadline());
        Multistream::accept($secure, [Session::PROTOCOL], self::deadline());

        return $secure;
    }

    /** @param array<string, \Closure(Stream, Deadline): void> $protocols */
    public function serve(SecureChannel $channel, array $protocols): Session
    {
        return $this->sessions[] = new Session(
            $channel,
            $this->loop,
            false,
            onStream: function (Stream $stream) use ($protocols): void {
                $this->loop->spawn(static function () use ($stream, $protocols): void {
                    try {
                        $name = Multistream::accept($stream, array_keys($protocols), self::deadline());
                        $protocols[$name]($stream, self::deadline());
                    } catch (Libp2pException) {
                        $stream->reset();
                    }
                });
            },
        );
    }

    /** End the connections that there were, with the tasks that wait for their streams. */
    public function forget(): void
    {
        foreach ($this->sessions as $session) {
            $session->close();
        }
        foreach ($this->sockets as $socket) {
            $socket->close();
        }
        $this->sockets = $this->sessions = [];
    }

    public function close(): void
    {
        if (is_resource($this->server)) {
            $this->loop->onReadable($this->server, null);
            fclose($this->server);
        }
        $this->forget();
    }
}
