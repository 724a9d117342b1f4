<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Exception\InvalidArgument;
use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\PeerUnreachable;
use Plasm\Libp2p\Exception\UnsupportedAddress;
use Plasm\Libp2p\Io\ChannelInterface;
use Plasm\Libp2p\Io\DnsResolver;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\ResolverInterface;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Libp2p\Noise\SecureChannel;
use Plasm\Libp2p\Relay\Relays;
use Plasm\Libp2p\Yamux\Session;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/**
 * Dials peers over TCP with Noise and yamux, directly or through relays, and accepts no connections.
 *
 * Source: libp2p specification, "Connections", "Upgrading Connections".
 */
final class Host implements HostInterface
{
    private const MAX_RACERS = 16;

    /** How long a direct connection is waited for before a relay is used. */
    private const HEAD_START_S = 0.25;

    private readonly Identity $identity;
    private readonly ResolverInterface $resolver;
    private readonly Relays $relays;

    /** @var list<Connection> */
    private array $connections = [];

    /**
     * @param Identity|null $identity null for a fresh one, which ends with this host
     * @param int $windowBytes how many unread bytes a peer may send on a stream, at least 256 KiB
     */
    public function __construct(
        ?Identity $identity = null,
        private readonly Loop $loop = new Loop(),
        ?ResolverInterface $resolver = null,
        private readonly int $windowBytes = 1024 * 1024,
    ) {
        if ($windowBytes < Session::INITIAL_WINDOW_BYTES) {
            throw new InvalidArgument('a window has at least 256 KiB');
        }
        $this->identity = $identity ?? Identity::ephemeral();
        $this->resolver = $resolver ?? new DnsResolver($loop);
        $host = \WeakReference::create($this);
        $this->relays = new Relays($loop, static fn (Multiaddr $relay, Deadline $deadline, bool $publicOnly): Connection
            => ($host->get() ?? throw new ConnectFailed('the host is gone'))->dial($relay, $deadline, $publicOnly));
    }

    public function __destruct()
    {
        $this->close();
    }

    public function peer(): PeerId
    {
        return $this->identity->peer;
    }

    public function loop(): Loop
    {
        return $this->loop;
    }

    public function dial(Multiaddr $address, Deadline $deadline, bool $publicOnly = false): Connection
    {
        $relay = $address->relay();
        $endpoint = $address->tcp();
        if ($relay === null && $endpoint === null) {
            throw new UnsupportedAddress("only TCP, to the peer itself or its relay, can be dialled, not $address");
        }
        $peer = $address->peer() ?? throw new UnsupportedAddress("the address $address names no peer");
        $channel = $endpoint !== null
            ? $this->connect($endpoint, $deadline, $publicOnly)
            : $this->relays->circuit($relay, $peer, $deadline, $publicOnly);

        return $this->upgrade($channel, $address, $peer, $deadline);
    }

    public function race(array $addresses, Deadline $deadline, bool $publicOnly = false): ConnectionInterface
    {
        $waves = [[], []];
        $causes = [];
        foreach ($addresses as $address) {
            if ($address->tcp() === null && $address->relay() === null) {
                $causes[(string) $address] = new UnsupportedAddress('only TCP, to the peer itself or its relay, can be dialled');
            } else {
                $waves[$address->tcp() === null ? 1 : 0][(string) $address] = $address;
            }
        }
        [$straight, $relayed] = $waves;
        $relayed = array_slice($relayed, 0, max(0, self::MAX_RACERS - count($straight)));
        /** @var TaskGroup<Connection> $dials */
        $dials = new TaskGroup($this->loop);
        $start = function (array $wave) use ($dials, $deadline, $publicOnly): void {
            foreach (array_slice($wave, 0, self::MAX_RACERS) as $name => $address) {
                $dials->start($name, fn (): Connection => $this->dial($address, $deadline, $publicOnly));
            }
        };
        $start($straight);
        $headStart = $deadline->within(self::HEAD_START_S);
        try {
            while ($dials->count() > 0 || $relayed !== []) {
                if ($relayed !== [] && ($dials->count() === 0 || $headStart->hasPassed())) {
                    $start($relayed);
                    $relayed = [];
                }
                try {
                    $next = $dials->next($relayed === [] ? $deadline : $headStart, 'any of several peers');
                } catch (DeadlinePassed $exception) {
                    if ($relayed === [] || $deadline->hasPassed()) {
                        throw $exception;
                    }
                    continue;
                }
                [$name, $connection, $error] = $next;
                if ($connection !== null) {
                    return $connection;
                }
                $causes[$name] = $error instanceof Libp2pException ? $error : throw $error ?? new \LogicException();
            }
        } finally {
            foreach ($dials->cancel() as $late) {
                $late->close();
            }
        }
        throw new PeerUnreachable('no peer could be reached', $causes);
    }

    /** Authenticate the peer at the other end of a channel (Noise), and multiplex the channel (yamux). */
    private function upgrade(ChannelInterface $channel, Multiaddr $address, PeerId $peer, Deadline $deadline): Connection
    {
        $step = 'speak Noise';
        try {
            Multistream::select($channel, SecureChannel::PROTOCOL, $deadline);
            $step = 'shake hands';
            $secure = SecureChannel::initiate($channel, $this->identity, $peer, $deadline);
            $step = 'speak yamux';
            Multistream::select($secure, Session::PROTOCOL, $deadline);
        } catch (\Throwable $exception) {
            $channel->close();
            throw $exception instanceof DeadlinePassed ? new DeadlinePassed("$address to $step") : $exception;
        }
        $session = new Session($secure, $this->loop, true, $this->windowBytes);
        $connection = new Connection($address, $peer, $session);
        $open = array_filter($this->connections, static fn (Connection $other): bool => $other->isOpen());
        $this->connections = [...$open, $connection];

        return $connection;
    }

    public function close(): void
    {
        foreach ($this->connections as $connection) {
            $connection->close();
        }
    }

    private function connect(TcpEndpoint $endpoint, Deadline $deadline, bool $publicOnly): Socket
    {
        $addresses = [$endpoint->host];
        if ($endpoint->isName()) {
            $addresses = $this->resolver->resolve(
                $endpoint->host,
                $endpoint->kind !== MultiaddrProtocol::Dns6,
                $endpoint->kind !== MultiaddrProtocol::Dns4,
                $deadline,
            );
        }
        $failure = null;
        foreach ($addresses as $place => $ip) {
            if ($publicOnly && !AddressScope::isPublic($ip)) {
                $failure = new UnsupportedAddress("$ip is not an address of the public internet");
                continue;
            }
            try {
                $share = $deadline->remaining() / (count($addresses) - $place);

                return Socket::connect($this->loop, $ip, $endpoint->port, $deadline->within($share));
            } catch (ConnectFailed | DeadlinePassed $failure) {
                // The name's next address may do.
            }
        }
        throw $failure;
    }
}
