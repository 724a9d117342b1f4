<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\Libp2p\Io\ByteStreamInterface;
use Plasm\Libp2p\Io\Framing;
use Plasm\Time\Deadline;

/**
 * Negotiates the next protocol of a stream.
 *
 * Source: multiformats/multistream-select, 1.0.0.
 */
final class Multistream
{
    private const GREETING = "/multistream/1.0.0\n";
    private const MAX_MESSAGE_BYTES = 1024;
    private const REFUSAL = 'na';

    /**
     * Propose a protocol, and wait until the peer accepts it.
     *
     * @param string $first bytes that follow the proposal in the same packet; lost if it is refused
     *
     * @throws UnsupportedProtocol if it is refused
     * @throws Libp2pException
     */
    public static function select(
        ByteStreamInterface $stream,
        string $protocol,
        Deadline $deadline,
        string $first = '',
    ): void {
        $stream->write(Framing::frame(self::GREETING) . self::message($protocol) . $first, $deadline);
        self::greeted($stream, $deadline);
        $answer = self::read($stream, $deadline);
        if ($answer === self::REFUSAL) {
            throw new UnsupportedProtocol("the peer does not speak $protocol");
        }
        if ($answer !== $protocol) {
            throw new ProtocolViolation("the peer answered with another protocol than $protocol");
        }
    }

    /**
     * Accept the first of our protocols that the other side proposes, and return it.
     *
     * @param list<string> $protocols
     *
     * @throws Libp2pException
     */
    public static function accept(ByteStreamInterface $stream, array $protocols, Deadline $deadline): string
    {
        self::greeted($stream, $deadline);
        $stream->write(Framing::frame(self::GREETING), $deadline);
        while (true) {
            $proposal = self::read($stream, $deadline);
            $known = in_array($proposal, $protocols, true);
            $stream->write(self::message($known ? $proposal : self::REFUSAL), $deadline);
            if ($known) {
                return $proposal;
            }
        }
    }

    private static function message(string $text): string
    {
        return Framing::frame("$text\n");
    }

    private static function greeted(ByteStreamInterface $stream, Deadline $deadline): void
    {
        if (Framing::readMessage($stream, strlen(self::GREETING), $deadline) !== self::GREETING) {
            throw new ProtocolViolation('the peer does not speak multistream-select 1.0');
        }
    }

    private static function read(ByteStreamInterface $stream, Deadline $deadline): string
    {
        $message = Framing::readMessage($stream, self::MAX_MESSAGE_BYTES, $deadline);
        if (!str_ends_with($message, "\n")) {
            throw new ProtocolViolation('a message of multistream-select has no line end');
        }

        return substr($message, 0, -1);
    }
}
