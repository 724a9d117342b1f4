<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Io;

use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Time\Deadline;

/**
 * Asks the system's name servers without blocking, as PHP's own functions do.
 *
 * Source: RFC 1035, sections 4.1 and 4.2.1; RFC 3596. Answers prove nothing: the peer's key does.
 */
final class DnsResolver implements ResolverInterface
{
    private const A = 1;
    private const AAAA = 28;
    private const IN = 1;
    private const RECURSION_DESIRED = 0x0100;
    private const RESPONSE = 0x8000;
    private const MAX_DATAGRAM_BYTES = 4096;
    private const MAX_ADDRESSES = 8;
    private const MAX_SERVERS = 3;
    private const PATIENCE_S = 2.0;

    /** The default server if resolv.conf(5) names none. */
    private const OWN_SERVER = '127.0.0.1:53';

    /** @var list<string> those that are configured */
    private readonly array $servers;

    /** @var list<string> */
    private readonly array $asked;

    /** @param list<string>|null $servers `host:port`, `[host]:port` for IPv6; null for those of resolv.conf(5) */
    public function __construct(
        private readonly Loop $loop,
        ?array $servers = null,
        private readonly string $hostsFile = '/etc/hosts',
        string $configurationFile = '/etc/resolv.conf',
    ) {
        $this->servers = array_slice($servers ?? self::configured($configurationFile), 0, self::MAX_SERVERS);
        $this->asked = $this->servers === [] && $servers === null ? [self::OWN_SERVER] : $this->servers;
    }

    public function resolve(string $name, bool $ip4, bool $ip6, Deadline $deadline): array
    {
        $types = [...($ip4 ? [self::A] : []), ...($ip6 ? [self::AAAA] : [])];
        $addresses = $this->known($name, $types);
        $failure = null;
        foreach ($addresses === [] ? $types : [] as $type) {
            try {
                array_push($addresses, ...$this->ask($name, $type, $deadline));
            } catch (Libp2pException $failure) {
                // The other family may have an answer.
            }
        }
        $addresses = array_slice(array_values(array_unique($addresses)), 0, self::MAX_ADDRESSES);

        return $addresses !== [] ? $addresses : throw $failure ?? new ConnectFailed("the name $name has no address");
    }

    /** @return list<string> */
    private function ask(string $name, int $type, Deadline $deadline): array
    {
        $failure = new ConnectFailed('no name server is configured');
        foreach ([...$this->asked, ...$this->asked] as $server) {
            try {
                return $this->query($server, $name, $type, $deadline->within(self::PATIENCE_S));
            } catch (DeadlinePassed | ProtocolViolation | ConnectFailed $failure) {
                if ($deadline->hasPassed()) {
                    break;
                }
            }
        }
        throw $failure;
    }

    /** @return list<string> */
    private function query(string $server, string $name, int $type, Deadline $deadline): array
    {
        $socket = @stream_socket_client("udp://$server", $code, $message);
        if ($socket === false) {
            throw new ConnectFailed("cannot ask the name server $server");
        }
        stream_set_blocking($socket, false);
        $question = self::encodeName($name) . pack('nn', $type, self::IN);
        $id = random_int(0, 0xFFFF);
        $arrived = new Signal($this->loop);
        $this->loop->onReadable($socket, $arrived->notify(...));
        try {
            @fwrite($socket, pack('n6', $id, self::RECURSION_DESIRED, 1, 0, 0, 0) . $question);
            while (true) {
                $arrived->wait($deadline, "the name server $server to say where $name is");
                $answer = @stream_socket_recvfrom($socket, self::MAX_DATAGRAM_BYTES);
                if ($answer === false) {
                    throw new ConnectFailed("the name server $server does not answer");
                }
                $header = strlen($answer) < 12 ? false : unpack('nid/nflags/nquestions/nanswers', $answer);
                if (
                    $header !== false && $header['id'] === $id && ($header['flags'] & self::RESPONSE) !== 0
                    && strcasecmp(substr($answer, 12, strlen($question)), $question) === 0
                ) {
                    return self::addresses($answer, 12 + strlen($question), $header['answers'], $type);
                }
            }
        } finally {
            $this->loop->onReadable($socket, null);
            fclose($socket);
        }
    }

    /** @return list<string> */
    private static function addresses(string $answer, int $offset, int $count, int $type): array
    {
        $addresses = [];
        for (; $count > 0 && count($addresses) < self::MAX_ADDRESSES; $count--) {
            $offset = self::skipName($answer, $offset);
            $record = strlen($answer) < $offset + 10 ? false : unpack('ntype/nclass/Nttl/nlength', $answer, $offset);
            if ($record === false) {
                break;
            }
            $data = substr($answer, $offset + 10, $record['length']);
            $offset += 10 + $record['length'];
            $size = $type === self::A ? 4 : 16;
            if ($record['type'] === $type && $record['class'] === self::IN && strlen($data) === $size) {
                $addresses[] = (string) inet_ntop($data);
            }
        }

        return $addresses;
    }

    private static function skipName(string $answer, int $offset): int
    {
        while (isset($answer[$offset])) {
            $length = ord($answer[$offset]);
            if ($length >= 0xC0) {
                return $offset + 2;
            }
            $offset += 1 + $length;
            if ($length === 0) {
                return $offset;
            }
        }
        throw new ProtocolViolation('a name server\'s answer is cut off');
    }

    private static function encodeName(string $name): string
    {
        $bytes = '';
        foreach (explode('.', rtrim($name, '.')) as $label) {
            if ($label === '' || strlen($label) > 63) {
                throw new ConnectFailed('not a name that can be looked up');
            }
            $bytes .= chr(strlen($label)) . $label;
        }

        return "$bytes\0";
    }

    /**
     * @param list<int> $types
     *
     * @return list<string>
     */
    private function known(string $name, array $types): array
    {
        $found = [self::A => [], self::AAAA => []];
        $lines = @file($this->hostsFile, FILE_IGNORE_NEW_LINES);
        foreach ($lines === false ? [] : $lines as $line) {
            $words = preg_split('/\s+/', trim(explode('#', $line)[0])) ?: [''];
            if (in_array(strtolower(rtrim($name, '.')), array_map('strtolower', array_slice($words, 1)), true)) {
                $found[str_contains($words[0], ':') ? self::AAAA : self::A][] = $words[0];
            }
        }

        return array_merge(...array_map(static fn (int $type): array => $found[$type], $types));
    }

    /** Return host and port of a name server; null if it is no address. */
    private static function server(string $word): ?string
    {
        if (str_contains($word, ':')) {
            [$address, $zone] = [...explode('%', $word, 2), ''];
            $isIp = filter_var($address, FILTER_VALIDATE_IP, FILTER_FLAG_IPV6) !== false;

            return $isIp && preg_match('/\A[A-Za-z0-9._-]{0,15}\z/', $zone) === 1 ? "[$word]:53" : null;
        }
        $address = self::ip4($word);

        return $address === null ? null : "$address:53";
    }

    /** Read an IPv4 address as inet_aton(3) does: one to four numbers, decimal, octal or hexadecimal. */
    private static function ip4(string $word): ?string
    {
        $parts = explode('.', $word);
        if (count($parts) > 4) {
            return null;
        }
        $bytes = '';
        foreach ($parts as $place => $part) {
            $value = match (1) {
                preg_match('/\A0[xX][0-9A-Fa-f]{1,8}\z/', $part) => (int) hexdec(substr($part, 2)),
                preg_match('/\A0[0-7]{0,11}\z/', $part) => (int) octdec($part),
                preg_match('/\A[1-9][0-9]{0,9}\z/', $part) => (int) $part,
                default => null,
            };
            $size = $place === count($parts) - 1 ? 4 - $place : 1;
            if ($value === null || $value >= 1 << 8 * $size) {
                return null;
            }
            $bytes .= substr(pack('N', $value), -$size);
        }

        return (string) inet_ntop($bytes);
    }

    /** @return list<string> */
    private static function configured(string $file): array
    {
        $servers = [];
        $lines = @file($file, FILE_IGNORE_NEW_LINES);
        foreach ($lines === false ? [] : $lines as $line) {
            // As glibc: the keyword begins the line, its first word counts, and what follows is ignored.
            if (preg_match('/\Anameserver[ \t]+([^\s]+)/', $line, $match) === 1) {
                $server = self::server($match[1]);
                $servers = $server === null ? $servers : [...$servers, $server];
            }
        }

        return $servers;
    }
}
