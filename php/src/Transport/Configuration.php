<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Cache\CacheInterface;
use Plasm\Cache\FileCache;
use Plasm\Cache\MemoryCache;
use Plasm\Exception\InvalidArgument;
use Plasm\Http\Api;
use Plasm\Http\BaseUrl;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Kademlia;
use Plasm\Libp2p\Multiaddr;
use Plasm\Remote\AddressPolicy;
use Plasm\Remote\Directory;
use Plasm\Remote\NodeClass;
use Plasm\Remote\PeerBook;
use Plasm\Time\ClockInterface;
use Plasm\Timeouts;

/** The transport and the route of a client, from its options. */
final readonly class Configuration
{
    private const OPTIONS = [
        'local' => ['mode', 'socket', 'trusted_user'],
        'gateway' => ['mode', 'socket', 'trusted_user'],
        'http' => ['mode', 'url', 'token', 'ca_file', 'allow_plain'],
        'remote' => ['mode', 'bootstrap', 'node_class', 'allow_private', 'cache', 'directory', 'watch'],
    ];
    private const DIRECTORY = '/phase/kad/1.0.0';
    private const MAX_BOOTSTRAP = 64;

    /** @param string $route the default route of a job */
    private function __construct(public TransportInterface $transport, public string $route)
    {
    }

    /**
     * @param array<string, mixed> $options see `Client`
     *
     * @throws InvalidArgument
     */
    public static function of(#[\SensitiveParameter] array $options, Timeouts $timeouts, ClockInterface $clock): self
    {
        $mode = $options['mode'] ?? 'local';
        $known = is_string($mode) ? self::OPTIONS[$mode] ?? null : null;
        if ($known === null) {
            throw new InvalidArgument('mode: expected "local", "gateway", "http" or "remote"');
        }
        if (array_key_exists('capability', $options)) {
            throw new InvalidArgument('the option capability is called node_class now');
        }
        $unknown = array_diff(array_keys($options), $known);
        if ($unknown !== []) {
            throw new InvalidArgument(
                "unknown option of mode $mode: " . implode(', ', $unknown) . '; there are ' . implode(', ', $known),
            );
        }
        if ($mode === 'remote') {
            return new self(self::remote($options, $timeouts, $clock), 'here');
        }
        if ($mode === 'http') {
            return new self(self::http($options, $timeouts, $clock), 'here');
        }
        $socket = $options['socket'] ?? null;
        if ($socket !== null && !is_string($socket)) {
            throw new InvalidArgument('socket: expected a path');
        }

        $trusted = self::user($options['trusted_user'] ?? null);

        return new self(new LocalTransport($socket, $timeouts, $clock, $trusted), $mode === 'gateway' ? 'network' : 'here');
    }

    private static function user(mixed $given): ?int
    {
        if ($given === null || (is_int($given) && $given >= 0)) {
            return $given;
        }
        if (is_string($given) && ctype_digit($given)) {
            return (int) $given;
        }
        $found = is_string($given) && function_exists('posix_getpwnam') ? posix_getpwnam($given) : false;

        return $found === false
            ? throw new InvalidArgument('trusted_user: expected the name or number of a user')
            : $found['uid'];
    }

    public static function given(TransportInterface $transport): self
    {
        return new self($transport, 'here');
    }

    /** @param array<string, mixed> $options */
    private static function http(#[\SensitiveParameter] array $options, Timeouts $timeouts, ClockInterface $clock): HttpTransport
    {
        $url = BaseUrl::parse(is_string($options['url'] ?? null) ? $options['url'] : '');
        $token = $options['token'] ?? null;
        $caFile = $options['ca_file'] ?? null;
        if ($token !== null && (!is_string($token) || preg_match('/\A[!-~]{1,512}\z/', $token) !== 1)) {
            throw new InvalidArgument('token: expected what plasm web token make has printed');
        }
        if ($caFile !== null && (!is_string($caFile) || !is_file($caFile))) {
            throw new InvalidArgument('ca_file: expected a file of certificates');
        }
        if (!$url->isTls && !$url->isLoopback() && ($options['allow_plain'] ?? false) !== true) {
            throw new InvalidArgument(
                "url: the token would go to $url->host in the clear: use https, or allow_plain in a network that is yours alone",
            );
        }
        if ($url->isTls && !extension_loaded('openssl')) {
            throw new InvalidArgument('url: https needs the extension openssl');
        }

        return new HttpTransport(new Api($url, $token, $timeouts, $clock, $caFile));
    }

    /** @param array<string, mixed> $options */
    private static function remote(array $options, Timeouts $timeouts, ClockInterface $clock): RemoteTransport
    {
        $bootstrap = self::bootstrap($options['bootstrap'] ?? []);
        $allowsPrivate = $options['allow_private'] ?? null;
        $className = $options['node_class'] ?? NodeClass::ANY_NODE;
        $directory = $options['directory'] ?? self::DIRECTORY;
        $watch = $options['watch'] ?? null;
        if ($allowsPrivate !== null && !is_bool($allowsPrivate)) {
            throw new InvalidArgument('allow_private: expected true or false');
        }
        if (!is_string($className)) {
            throw new InvalidArgument('node_class: expected a name such as ' . NodeClass::ANY_NODE);
        }
        if (!is_string($directory) || preg_match('/\A\/[!-~]{1,63}\z/', $directory) !== 1) {
            throw new InvalidArgument('directory: expected a protocol such as ' . self::DIRECTORY);
        }
        if ($watch !== null && !is_callable($watch)) {
            throw new InvalidArgument('watch: expected something to call');
        }
        $class = new NodeClass($className);
        $policy = AddressPolicy::of($allowsPrivate, $bootstrap);
        $host = new Host();
        $connections = new Connections($host);
        $kademlia = new Kademlia\Client(
            $host,
            $bootstrap,
            $directory,
            connections: $connections,
            scope: $policy->scope,
        );
        $names = array_map(strval(...), $bootstrap);
        sort($names, SORT_STRING);

        return new RemoteTransport(
            $host,
            new Directory($kademlia, $host->loop(), $policy),
            $connections,
            new PeerBook(self::cache($options['cache'] ?? null), implode(' ', [$directory, $className, ...$names])),
            !$policy->allowsPrivate,
            $class,
            $timeouts,
            $clock,
            $watch === null ? null : $watch(...),
            $kademlia->bootstrap,
            static fn (): RemoteTransport => self::remote($options, $timeouts, $clock),
        );
    }

    /** @return list<Multiaddr> */
    private static function bootstrap(mixed $given): array
    {
        if (is_string($given)) {
            $given = [$given];
        }
        if (!is_array($given) || $given === [] || count($given) > self::MAX_BOOTSTRAP) {
            throw new InvalidArgument('bootstrap: expected addresses to begin at, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…');
        }
        $addresses = [];
        foreach ($given as $text) {
            try {
                $address = Multiaddr::parse(is_string($text) ? $text : '');
            } catch (InvalidMultiaddr $exception) {
                throw new InvalidArgument("bootstrap: {$exception->getMessage()}", 0, $exception);
            }
            if ($address->peer() === null || $address->tcp() === null) {
                throw new InvalidArgument("bootstrap: $address is not TCP to a named peer, as /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…");
            }
            $addresses[] = $address;
        }

        return $addresses;
    }

    private static function cache(mixed $given): CacheInterface
    {
        return match (true) {
            $given === null => FileCache::ofUser(),
            $given === false => new MemoryCache(),
            is_string($given) && $given !== '' => new FileCache($given),
            $given instanceof CacheInterface => $given,
            default => throw new InvalidArgument('cache: expected a directory, a CacheInterface, or false for none'),
        };
    }
}
