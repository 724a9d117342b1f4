<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Exception\ProtocolError;
use Plasm\Exception\TransportException;

/** Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) as `plasm web` sends them. */
final class EventStream
{
    /** An event has at most 64 KiB of output in base64. */
    private const MAX_EVENT_BYTES = 1 << 20;

    private string $ahead = '';

    public function __construct(private readonly Response $response)
    {
    }

    /**
     * Return the next event, its name and its data; null at the end of the stream.
     *
     * @return array{string, string}|null
     *
     * @throws TransportException
     */
    public function next(string $waitedFor): ?array
    {
        while (true) {
            while (($end = strpos($this->ahead, "\n\n")) === false) {
                if (strlen($this->ahead) > self::MAX_EVENT_BYTES) {
                    throw new ProtocolError('the web server sends an event without end');
                }
                $bytes = $this->response->next($waitedFor);
                if ($bytes === null) {
                    return null;
                }
                $this->ahead .= $bytes;
            }
            $block = substr($this->ahead, 0, $end);
            $this->ahead = substr($this->ahead, $end + 2);
            $name = $data = null;
            foreach (explode("\n", $block) as $line) {
                if (str_starts_with($line, 'event: ')) {
                    $name = substr($line, 7);
                } elseif (str_starts_with($line, 'data: ')) {
                    $data = ($data === null ? '' : "$data\n") . substr($line, 6);
                }
            }
            if ($name !== null && $data !== null) {
                return [$name, $data];
            }
        }
    }
}
