<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TransportException;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\Unreachable;
use Plasm\Record\Fields;
use Plasm\Record\Printable;
use Plasm\Source\SourceInterface;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Timeouts;

/** Requests to the HTTP API of a `plasm web` (docs/http.md): token, deadlines, and problems as exceptions. */
final readonly class Api
{
    private const PIECE_BYTES = 64 << 10;
    private const MAX_PROBLEM_BYTES = 64 << 10;

    /** Codes that say that there is no such job, or not any more. */
    private const GONE = ['not_found', 'unknown_job', 'released', 'expired'];

    /** Codes that say that the server cannot use its daemon now. */
    private const AWAY = ['node_unreachable', 'node_timeout', 'node_protocol', 'restarted', 'internal'];

    /** The token is in no dump, export or serialization of a client. */
    private ?\SensitiveParameterValue $token;

    public function __construct(
        public BaseUrl $url,
        #[\SensitiveParameter] ?string $token,
        private Timeouts $timeouts,
        private ClockInterface $clock,
        private ?string $caFile = null,
    ) {
        $this->token = $token === null ? null : new \SensitiveParameterValue($token);
    }

    /**
     * Send a request, and return its answer once its head has come. Close the exchange afterwards.
     *
     * @param array<string, string> $headers
     * @param list<SourceInterface> $body
     * @param float|null $answerS until the answer begins, if not the idle timeout
     *
     * @throws TransportException
     * @throws Refused
     * @throws ExceptionInterface if the body cannot be read
     */
    public function send(
        string $method,
        string $path,
        string $waitedFor,
        Deadline $deadline,
        array $headers = [],
        array $body = [],
        ?float $answerS = null,
    ): Exchange {
        $connecting = $deadline->orSooner(new Deadline($this->clock, $this->timeouts->connectS, 'connect'));
        $socket = Socket::connect($this->url, $connecting, $this->caFile);
        try {
            $this->write($socket, $this->head($method, $path, $headers, $body), $body, $deadline);
            $answering = new Deadline($this->clock, $answerS ?? $this->timeouts->idleS, 'idle');
            $response = Response::read($socket, $waitedFor, $answering, $deadline, $this->clock, $this->timeouts->idleS);
            if ($response->status >= 300) {
                throw $this->problem($response);
            }
        } catch (ExceptionInterface $exception) {
            $socket->close();
            throw $exception;
        }

        return new Exchange($socket, $response);
    }

    /**
     * Send a request, and return its answer, a JSON object of at most `$maxBytes`.
     *
     * @param array<string, string> $headers
     * @param list<SourceInterface> $body
     *
     * @throws TransportException
     * @throws Refused
     * @throws ExceptionInterface
     */
    public function json(
        string $method,
        string $path,
        string $waitedFor,
        Deadline $deadline,
        int $maxBytes,
        array $headers = [],
        array $body = [],
        ?float $answerS = null,
    ): Fields {
        $exchange = $this->send($method, $path, $waitedFor, $deadline, $headers, $body, $answerS);
        try {
            return self::fields($exchange->response->body($maxBytes, $waitedFor), $maxBytes);
        } finally {
            $exchange->close();
        }
    }

    /** @throws ProtocolError if it is not an object of JSON */
    public static function fields(string $json, int $maxBytes): Fields
    {
        try {
            return Fields::decode($json, 'answer', $maxBytes);
        } catch (InvalidRecord $exception) {
            throw new ProtocolError("the web server's answer cannot be read: {$exception->getMessage()}", null, $exception);
        }
    }

    /** Return the exception that a problem (RFC 9457) means. */
    public static function exception(string $json, int $status, ?string $retryAfter = null): Refused|TransportException
    {
        $found = json_decode($json, true, 8);
        $found = is_array($found) ? $found : [];
        $text = static fn (string $name): ?string
            => is_string($found[$name] ?? null) ? Printable::visible(substr($found[$name], 0, 2000)) : null;
        $code = $text('code');
        $detail = $text('detail') ?? "the web server answers with status $status";
        if ($code === null) {
            // No answer of plasm web: perhaps of a proxy before it, whose server is away.
            return $status >= 500
                ? new ConnectionLost($detail)
                : new ProtocolError("$detail: what answers is no plasm web");
        }
        $seconds = $found['retryAfterS'] ?? $retryAfter;
        $retryAfterS = is_numeric($seconds) ? (int) min(max((float) $seconds, 0.0), 3600.0) : null;

        return match (true) {
            in_array($code, self::GONE, true) => new UnknownJob($code, $detail, $text('hint'), $retryAfterS),
            $code === 'node_unreachable' => new Unreachable($detail, $text('hint')),
            in_array($code, self::AWAY, true), in_array($code, ['too_slow', 'broken_off'], true) => new ConnectionLost($detail),
            default => new Refused($code, $detail, $text('hint'), $retryAfterS),
        };
    }

    private function problem(Response $response): Refused|TransportException
    {
        if ($response->status < 400) {
            return new ProtocolError('the web server redirects elsewhere, which this client does not follow');
        }

        return self::exception(
            $response->body(self::MAX_PROBLEM_BYTES, 'the problem'),
            $response->status,
            $response->header('Retry-After'),
        );
    }

    /**
     * @param array<string, string> $headers
     * @param list<SourceInterface> $body
     */
    private function head(string $method, string $path, array $headers, array $body): string
    {
        $size = array_sum(array_map(static fn (SourceInterface $piece): int => $piece->size(), $body));
        $headers += ['Host' => $this->url->authority(), 'Connection' => 'close', 'User-Agent' => 'plasm-php'];
        if ($this->token !== null) {
            $headers['Authorization'] = 'Bearer ' . $this->token->getValue();
        }
        if ($body !== [] || $method === 'POST') {
            $headers['Content-Length'] = (string) $size;
        }
        $lines = ["$method {$this->url->path}$path HTTP/1.1"];
        foreach ($headers as $name => $value) {
            $lines[] = "$name: $value";
        }

        return implode("\r\n", $lines) . "\r\n\r\n";
    }

    /** @param list<SourceInterface> $body */
    private function write(Socket $socket, #[\SensitiveParameter] string $head, array $body, Deadline $deadline): void
    {
        $soon = fn (): Deadline => $deadline->orSooner(new Deadline($this->clock, $this->timeouts->idleS, 'idle'));
        try {
            $socket->write($head, $soon());
            foreach ($body as $piece) {
                for ($offset = 0; $offset < $piece->size(); $offset += self::PIECE_BYTES) {
                    $socket->write($piece->read($offset, self::PIECE_BYTES), $soon());
                }
            }
        } catch (ConnectionLost) {
            // A server that refuses a body may close before it has read all of it: its answer says why.
        }
    }
}
