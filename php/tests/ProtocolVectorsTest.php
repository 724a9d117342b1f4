<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\ProtocolError;
use Plasm\Protocol\Channel;
use Plasm\Protocol\ClientMessage;
use Plasm\Protocol\Data;
use Plasm\Protocol\Frame;
use Plasm\Protocol\FrameReader;
use Plasm\Protocol\Message\Hello;
use Plasm\Protocol\Message\Offered;
use Plasm\Protocol\Message\Refused;
use Plasm\Protocol\Message\Result;
use Plasm\Protocol\Message\StatusIs;
use Plasm\Protocol\NodeMessage;
use Plasm\Transport\Session;

/** Holds the frames and messages against the bytes that Python is held against. */
final class ProtocolVectorsTest extends TestCase
{
    /** @dataProvider clientMessages */
    #[DataProvider('clientMessages')]
    public function testClientMessagesAreTheseBytes(array $message, string $frame): void
    {
        $written = self::clientMessage($message);

        self::assertSame($frame, bin2hex(Frame::control(($message['keep'] ?? false) ? $written->keeping() : $written)));
    }

    /** @dataProvider nodeMessages */
    #[DataProvider('nodeMessages')]
    public function testNodeMessagesAreReadFromTheseBytes(array $message, string $frame): void
    {
        $read = self::read($frame);

        self::assertCount(1, $read);
        self::assertInstanceOf(NodeMessage::class, $read[0]);
        self::assertSame($message['type'], $read[0]->type());
    }

    public function testMessagesAreRead(): void
    {
        $read = [];
        foreach (Vectors::load('protocol')['messages'] as $case) {
            if ($case['from'] === 'node') {
                $read[$case['message']['type']][] = self::read($case['frame_hex'])[0];
            }
        }
        [[$hello, $keeping], [$offered], [$result], [$refused]] = [$read['hello'], $read['offered'], $read['result'], $read['refused']];
        $byGateway = current(array_filter($read['status'], static fn (StatusIs $is): bool => $is->status->node !== null));

        self::assertInstanceOf(Hello::class, $hello);
        self::assertSame('12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB', (string) $hello->peer);
        self::assertSame('plasm/0.1.0', $hello->agent);
        self::assertInstanceOf(Hello::class, $keeping);
        self::assertSame([null, 5], [$hello->keepS, $keeping->keepS]);
        self::assertInstanceOf(Offered::class, $offered);
        self::assertSame(60, $offered->expiresS);
        self::assertSame([1 => 104857600, 2 => 13, 3 => 0, 4 => 12], $offered->credit);
        self::assertInstanceOf(Result::class, $result);
        self::assertSame('COMPLETE', $result->status->state->value);
        self::assertSame('exited', $result->status->outcome?->value);
        self::assertSame('2026-01-02T03:04:05.678900', $result->status->finishedAt?->format('Y-m-d\TH:i:s.u'));
        self::assertSame('{"payload":"e30="}', $result->envelope);
        self::assertInstanceOf(StatusIs::class, $byGateway);
        self::assertSame((string) $hello->peer, (string) $byGateway->status->node);
        self::assertInstanceOf(Refused::class, $refused);
        self::assertSame(['queue_full', 'ask again', 7], [$refused->reason, $refused->hint, $refused->retryAfterS]);
    }

    /** @dataProvider data */
    #[DataProvider('data')]
    public function testDataFramesAreTheseBytes(array $case): void
    {
        $channel = Channel::from($case['number']);
        $bytes = sodium_hex2bin($case['data_hex']);
        $frame = Frame::data($channel, $case['offset'], $bytes);
        $read = self::read($case['frame_hex'])[0];

        self::assertSame($case['frame_hex'], bin2hex($frame));
        self::assertSame($case['channel'], $channel->label());
        self::assertEquals(new Data($channel, $case['offset'], $bytes), $read);
    }

    /** @dataProvider refused */
    #[DataProvider('refused')]
    public function testAnInvalidFrameIsRefused(string $frame): void
    {
        $this->expectException(ProtocolError::class);

        self::read($frame);
    }

    /** @dataProvider refused */
    #[DataProvider('refused')]
    public function testItIsRefusedByteForByteToo(string $frame): void
    {
        $reader = new FrameReader();
        $this->expectException(ProtocolError::class);

        foreach (str_split(sodium_hex2bin($frame)) as $byte) {
            $reader->feed($byte);
            $reader->next();
        }
    }

    public function testTheLimitsAndTheNameAreTheVectors(): void
    {
        $vectors = Vectors::load('protocol');

        self::assertSame($vectors['max_control_bytes'], Frame::MAX_CONTROL_BYTES);
        self::assertSame($vectors['max_data_bytes'], Frame::MAX_DATA_BYTES);
        self::assertSame($vectors['protocol'], Session::PROTOCOL);
    }

    public function testTheProofOfPossession(): void
    {
        $case = Vectors::load('protocol')['possession'];
        $proof = Session::proof(
            sodium_hex2bin($case['challenge']),
            new \Plasm\Source\StringSource(sodium_hex2bin($case['module_hex'])),
        );

        self::assertSame($case['proof'], $proof);
    }

    /** Whatever a stranger sends, it is frames or an error of ours, and no more than one frame is held. */
    public function testDamagedFramesAreAProtocolErrorAndNothingElse(): void
    {
        $frames = array_map(static fn (array $case): string => sodium_hex2bin($case['frame_hex']), [
            ...Vectors::load('protocol')['messages'],
            ...Vectors::load('protocol')['data'],
            ...Vectors::load('file_transfer')['messages'],
            ...Vectors::load('file_transfer')['data'],
        ]);
        mt_srand(1);
        $refused = 0;
        for ($round = 0; $round < 3000; ++$round) {
            $bytes = $frames[array_rand($frames)] . $frames[array_rand($frames)];
            for ($flips = mt_rand(1, 4); $flips > 0; --$flips) {
                $at = mt_rand(0, strlen($bytes) - 1);
                $bytes[$at] = chr(mt_rand(0, 3) === 0 ? mt_rand(0, 255) : ord($bytes[$at]) ^ 1 << mt_rand(0, 7));
            }
            try {
                self::frames(new FrameReader(), substr($bytes, 0, mt_rand(1, strlen($bytes))));
            } catch (ProtocolError) {
                ++$refused;
            }
        }

        self::assertGreaterThan(300, $refused);
    }

    /** However the stream is cut, the same frames come out. */
    public function testFramesAreReadInAnyPieces(): void
    {
        $bytes = '';
        foreach (Vectors::load('protocol')['messages'] as $case) {
            $bytes .= $case['from'] === 'node' ? sodium_hex2bin($case['frame_hex']) : '';
        }
        $whole = self::frames(new FrameReader(), $bytes);

        foreach ([1, 2, 3, 5, 64, 1000] as $length) {
            $reader = new FrameReader();
            $read = [];
            foreach (str_split($bytes, $length) as $chunk) {
                array_push($read, ...self::frames($reader, $chunk));
            }
            self::assertEquals($whole, $read);
            self::assertTrue($reader->isBetweenFrames());
        }
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function clientMessages(): array
    {
        return self::messages('client');
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function nodeMessages(): array
    {
        return self::messages('node');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function data(): array
    {
        $cases = [];
        foreach ([...Vectors::load('protocol')['data'], ...Vectors::load('file_transfer')['data']] as $index => $case) {
            $cases["$index {$case['channel']}"] = [$case];
        }

        return $cases;
    }

    /** @return array<string, array{string}> */
    public static function refused(): array
    {
        return array_column(
            array_map(static fn (array $case): array => [$case['why'], [$case['frame_hex']]], Vectors::load('protocol')['refused']),
            1,
            0,
        );
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    private static function messages(string $from): array
    {
        $cases = [];
        $all = [...Vectors::load('protocol')['messages'], ...Vectors::load('file_transfer')['messages']];
        foreach ($all as $index => $case) {
            // PHP passes no descriptors, so it never sends this.
            if ($case['from'] === $from && $case['message']['type'] !== 'sealed_memory') {
                $cases["$index {$case['message']['type']}"] = [$case['message'], $case['frame_hex']];
            }
        }

        return $cases;
    }

    /** @return list<Data|NodeMessage> */
    private static function read(string $frame): array
    {
        return self::frames(new FrameReader(), sodium_hex2bin($frame));
    }

    /** @return list<Data|NodeMessage> */
    private static function frames(FrameReader $reader, string $bytes): array
    {
        $reader->feed($bytes);
        $frames = [];
        while (($frame = $reader->next()) !== null) {
            $frames[] = $frame;
        }

        return $frames;
    }

    private static function channel(string $label): Channel
    {
        return Channel::from([...array_column(array_map(
            static fn (Channel $channel): array => [$channel->label(), $channel->value],
            Channel::cases(),
        ), 1, 0)][$label]);
    }

    /** @param array<string, mixed> $message */
    private static function clientMessage(array $message): ClientMessage
    {
        $token = sodium_hex2bin($message['token'] ?? '');
        $job = $message['job_id'] ?? '';

        return match ($message['type']) {
            'submit' => ClientMessage::submit(
                $message['manifest'],
                $token,
                $message['sizes'],
                $message['credit'],
                $message['route'],
            ),
            'attach' => ClientMessage::attach($job, $token, $message['credit'], $message['offsets'], $message['attempt']),
            'status' => ClientMessage::status($job, $token),
            'cancel' => ClientMessage::cancel($job, $token),
            'release' => ClientMessage::release($job, $token),
            'capabilities' => ClientMessage::capabilities(),
            'fetch' => ClientMessage::fetch(
                $job,
                $token,
                $message['path'],
                $message['offset'],
                $message['length'],
                $message['credit'],
            ),
            'possession' => ClientMessage::possession($message['proof'], self::channel($message['channel'] ?? 'module')),
            'credit' => ClientMessage::credit(self::channel($message['channel']), $message['upto'], $message['attempt']),
            'heartbeat' => ClientMessage::heartbeat(),
            'error' => ClientMessage::error($message['code'], $message['message']),
        };
    }
}
