<?php

declare(strict_types=1);

namespace Plasm\Protocol;

use Plasm\Exception\InvalidRecord;
use Plasm\Exception\ProtocolError;
use Plasm\Record\Fields;

/** A message of a node (docs/protocol.md, "Messages of the node"). */
abstract readonly class NodeMessage
{
    protected const WORDS = '[^\x00-\x1f\x7f]';
    protected const NAME = '[a-z][a-z0-9_]{0,63}';

    private const TYPES = [
        'hello' => Message\Hello::class,
        'offered' => Message\Offered::class,
        'possessed' => Message\Possessed::class,
        'progress' => Message\Progress::class,
        'accepted' => Message\Accepted::class,
        'attached' => Message\Attached::class,
        'state' => Message\State::class,
        'result' => Message\Result::class,
        'status' => Message\StatusIs::class,
        'capabilities' => Message\Capabilities::class,
        'contents' => Message\Contents::class,
        'refused' => Message\Refused::class,
        'credit' => Message\Credit::class,
        'heartbeat' => Message\Heartbeat::class,
        'error' => Message\Error::class,
    ];

    /** Read a message, noting problems in `$fields`. */
    abstract protected static function fromFields(Fields $fields): self;

    /** @throws ProtocolError */
    final public static function parse(string $json): self
    {
        try {
            $fields = Fields::decode($json, 'message', Frame::MAX_CONTROL_BYTES, Frame::MAX_VALUES);
            $type = $fields->matching('type', '(?s:.*)', 'the name of a message');
            $fields->finish();
            $class = self::TYPES[$type] ?? throw new ProtocolError('an unknown message: ' . self::shown($type));
            $message = $class::fromFields($fields);
            $fields->finish();
        } catch (InvalidRecord $exception) {
            throw new ProtocolError($exception->getMessage(), null, $exception);
        }

        return $message;
    }

    /** Return its name on the wire. */
    final public function type(): string
    {
        return (string) array_search(static::class, self::TYPES, true);
    }

    /** Show a stranger's text: short, on one line, in ASCII. */
    private static function shown(string $text): string
    {
        return substr(addcslashes($text, "\0..\37\177..\377"), 0, 64);
    }
}
