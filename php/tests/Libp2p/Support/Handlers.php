<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p\Support;

use Plasm\Libp2p\Yamux\Stream;
use Plasm\Time\Deadline;

/** What honest nodes of the tests serve. */
final class Handlers
{
    /** @return array<string, \Closure(Stream, Deadline): void> */
    public static function all(): array
    {
        return [
            '/test/echo' => static function (Stream $stream, Deadline $deadline): void {
                while (($bytes = $stream->read(65536, $deadline)) !== '') {
                    $stream->write($bytes, $deadline);
                }
                $stream->closeWrite();
            },
            '/test/count' => static function (Stream $stream, Deadline $deadline): void {
                $count = 0;
                while (($bytes = $stream->read(65536, $deadline)) !== '') {
                    $count += strlen($bytes);
                }
                $stream->write((string) $count, $deadline);
                $stream->closeWrite();
            },
            '/test/endless' => static function (Stream $stream, Deadline $deadline): void {
                while (true) {
                    $stream->write(str_repeat('x', 65536), $deadline);
                }
            },
            '/test/silent' => static function (): void {
            },
            '/test/reset' => static function (Stream $stream): void {
                $stream->reset();
            },
        ];
    }
}
