<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Exception\InvalidArgument;

/** Where a `plasm web` is: scheme, host, port and the path before the API's own. */
final readonly class BaseUrl implements \Stringable
{
    private const LOOPBACK = '/\A(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\z/i';

    private function __construct(
        public bool $isTls,
        public string $host,
        public int $port,
        public string $path,
    ) {
    }

    /** @throws InvalidArgument */
    public static function parse(string $url): self
    {
        $pattern = '~\A(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?((?:/[A-Za-z0-9._\~-]+)*)/*\z~';
        if (preg_match($pattern, $url, $part) !== 1) {
            throw new InvalidArgument('url: expected the address of a plasm web, such as https://jobs.example.org');
        }
        $isTls = $part[1] === 'https';
        $port = $part[3] === '' ? ($isTls ? 443 : 80) : (int) $part[3];
        if ($port < 1 || $port > 65535) {
            throw new InvalidArgument("url: there is no port $port");
        }

        return new self($isTls, $part[2], $port, $part[4]);
    }

    /** Tell whether the server is on this machine, so that what is sent in the clear goes over no network. */
    public function isLoopback(): bool
    {
        return preg_match(self::LOOPBACK, $this->host) === 1;
    }

    /** Return the header Host. */
    public function authority(): string
    {
        $isUsual = $this->port === ($this->isTls ? 443 : 80);

        return $isUsual ? $this->host : "$this->host:$this->port";
    }

    public function __toString(): string
    {
        return ($this->isTls ? 'https' : 'http') . "://{$this->authority()}$this->path";
    }
}
