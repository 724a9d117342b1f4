<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\TransportException;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;

/** An HTTP/1.1 response (RFC 9112) as it comes: its head first, then the body piece by piece. */
final class Response
{
    private const MAX_HEAD_BYTES = 32 << 10;
    private const MAX_LINE_BYTES = 1024;
    private const MAX_INTERIM = 8;

    private string $ahead = '';

    /** The bytes of the body, or of its chunk, that are still to come; null: all until the connection ends. */
    private ?int $left = null;
    private bool $isChunked = false;
    private bool $isOver = false;

    public int $status = 0;

    /** @var array<string, string> by names in lower case */
    private array $headers = [];

    /** @param float $idleS the longest silence within the body */
    private function __construct(
        private readonly Socket $socket,
        private readonly Deadline $deadline,
        private readonly ClockInterface $clock,
        private readonly float $idleS,
    ) {
    }

    /**
     * Read the head of a response.
     *
     * @param Deadline $answering until when it has to begin
     * @param Deadline $deadline for all of it
     *
     * @throws TransportException
     */
    public static function read(
        Socket $socket,
        string $waitedFor,
        Deadline $answering,
        Deadline $deadline,
        ClockInterface $clock,
        float $idleS,
    ): self {
        $self = new self($socket, $deadline, $clock, $idleS);
        for ($count = 0; $count < self::MAX_INTERIM; ++$count) {
            $self->readHead($waitedFor, $deadline->orSooner($answering));
            if ($self->status >= 200) {
                $self->frame();

                return $self;
            }
        }
        throw new ProtocolError('the web server sends interim answers without end');
    }

    /** Return a header's value; null if it is not there. */
    public function header(string $name): ?string
    {
        return $this->headers[strtolower($name)] ?? null;
    }

    /**
     * Return the next bytes of the body; null at its end.
     *
     * @throws TransportException
     */
    public function next(string $waitedFor): ?string
    {
        if ($this->isOver) {
            return null;
        }
        if ($this->isChunked && $this->left === 0) {
            $size = $this->line();
            if (preg_match('/\A([0-9A-Fa-f]{1,8})(?:;.*)?\z/', $size, $part) !== 1) {
                throw new ProtocolError('the web server sends a chunk without its length');
            }
            $this->left = (int) hexdec($part[1]);
            if ($this->left === 0) {
                for ($count = 0; $this->line() !== ''; ++$count) {
                    $count < self::MAX_INTERIM || throw new ProtocolError('the web server sends trailers without end');
                }
                $this->isOver = true;

                return null;
            }
        }
        if ($this->left === 0) {
            $this->isOver = true;

            return null;
        }
        $bytes = $this->ahead !== '' ? $this->ahead : $this->receive($waitedFor, $this->soon());
        $this->ahead = '';
        if ($bytes === '') {
            if ($this->left !== null) {
                throw new ConnectionLost("the web server ended its answer early; waited for $waitedFor");
            }
            $this->isOver = true;

            return null;
        }
        if ($this->left !== null) {
            [$bytes, $this->ahead] = [substr($bytes, 0, $this->left), substr($bytes, $this->left)];
            $this->left -= strlen($bytes);
            if ($this->isChunked && $this->left === 0 && $this->line() !== '') {
                throw new ProtocolError('the web server sends a chunk longer than it says');
            }
        }

        return $bytes;
    }

    /**
     * Return all of the body.
     *
     * @throws TransportException also if it is longer than `$maxBytes`
     */
    public function body(int $maxBytes, string $waitedFor): string
    {
        $body = '';
        while (($bytes = $this->next($waitedFor)) !== null) {
            $body .= $bytes;
            if (strlen($body) > $maxBytes) {
                throw new ProtocolError("the web server sends more than $maxBytes bytes as $waitedFor");
            }
        }

        return $body;
    }

    private function readHead(string $waitedFor, Deadline $deadline): void
    {
        while (($end = strpos($this->ahead, "\r\n\r\n")) === false) {
            if (strlen($this->ahead) > self::MAX_HEAD_BYTES) {
                throw new ProtocolError('the web server sends a head without end');
            }
            $bytes = $this->receive($waitedFor, $deadline);
            if ($bytes === '') {
                throw new ConnectionLost("the web server closed the connection; waited for $waitedFor");
            }
            $this->ahead .= $bytes;
        }
        $lines = explode("\r\n", substr($this->ahead, 0, $end));
        $this->ahead = substr($this->ahead, $end + 4);
        if (preg_match('/\AHTTP\/1\.[01] ([1-5][0-9]{2})(?: .*)?\z/', $lines[0], $part) !== 1) {
            throw new ProtocolError('the answer is not HTTP');
        }
        $this->status = (int) $part[1];
        $this->headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = [...explode(':', $line, 2), null];
            if ($value === null || preg_match('/\A[!-~]+\z/', $name) !== 1) {
                throw new ProtocolError('the web server sends a header that is none');
            }
            $this->headers[strtolower($name)] = trim($value, " \t");
        }
    }

    /** Find out where the body ends (RFC 9112, section 6.3). */
    private function frame(): void
    {
        $coding = strtolower($this->header('transfer-encoding') ?? '');
        $length = $this->header('content-length');
        if ($this->status === 204 || $this->status === 304) {
            $this->left = 0;
        } elseif ($coding !== '') {
            $coding === 'chunked' || throw new ProtocolError("the web server sends its answer as $coding");
            $this->isChunked = true;
            $this->left = 0;
        } elseif ($length !== null) {
            preg_match('/\A[0-9]{1,15}\z/', $length) === 1 || throw new ProtocolError('the answer has no proper length');
            $this->left = (int) $length;
        }
    }

    private function line(): string
    {
        while (($end = strpos($this->ahead, "\r\n")) === false) {
            if (strlen($this->ahead) > self::MAX_LINE_BYTES) {
                throw new ProtocolError('the web server sends a line without end');
            }
            $bytes = $this->receive('the rest of the answer', $this->soon());
            if ($bytes === '') {
                throw new ConnectionLost('the web server ended its answer early');
            }
            $this->ahead .= $bytes;
        }
        $line = substr($this->ahead, 0, $end);
        $this->ahead = substr($this->ahead, $end + 2);

        return $line;
    }

    private function receive(string $waitedFor, Deadline $deadline): string
    {
        return $this->socket->read($waitedFor, $deadline);
    }

    private function soon(): Deadline
    {
        return $this->deadline->orSooner(new Deadline($this->clock, $this->idleS, 'idle'));
    }
}
