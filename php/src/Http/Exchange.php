<?php

declare(strict_types=1);

namespace Plasm\Http;

/** An answer that is still being read, and the connection that it comes by. */
final readonly class Exchange
{
    public function __construct(private Socket $socket, public Response $response)
    {
    }

    /** End the connection. Doing it twice is harmless. */
    public function close(): void
    {
        $this->socket->close();
    }
}
