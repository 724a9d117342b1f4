<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Digest;
use Plasm\Envelope;
use Plasm\Exception\InvalidRecord;
use Plasm\Expectation;
use Plasm\Handle;
use Plasm\Limits;
use Plasm\Manifest;
use Plasm\PeerId;
use Plasm\Receipt;
use Plasm\ReceiptVerifier;
use Plasm\Task;
use Plasm\Testing\ReceiptSigner;

/** Holds this implementation against the vectors that the Python one is held against. */
final class IdentitiesTest extends TestCase
{
    /**
     * @dataProvider lists
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('lists')]
    public function testLists(array $case): void
    {
        $items = array_map(sodium_hex2bin(...), $case['items_hex']);

        self::assertSame($case['encoding_hex'], bin2hex(Digest::encodeList($items)));
        self::assertSame($case['digest'], Digest::ofList($items));
    }

    /**
     * @dataProvider tasks
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('tasks')]
    public function testTasks(array $case): void
    {
        $task = $case['task'];

        $digest = (new Task(
            profile: $task['profile'],
            module: $task['module'],
            args: $task['args'],
            env: $task['env'],
            stdin: $task['stdin'],
            seed: $task['seed'],
            limits: new Limits((int) $task['gas'], (int) $task['memory'], (int) $task['output']),
            capabilities: $task['capabilities'],
        ))->digest();

        self::assertSame($case['task_digest'], $digest);
    }

    /**
     * @dataProvider manifests
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('manifests')]
    public function testManifests(array $case): void
    {
        $manifest = Manifest::fromJson($case['manifest']);

        self::assertSame($case['job_id'], $manifest->jobId());
        self::assertSame($case['task_digest'], $manifest->taskDigest());
        self::assertSame($case['manifest'], $manifest->json);
    }

    /** The vectors' names of profile and gas schedule are those of this client. */
    public function testTheConstantsAreTheVectors(): void
    {
        $identities = Vectors::load('identities');
        $payload = json_decode($identities['envelope']['payload'], true, flags: JSON_THROW_ON_ERROR);

        self::assertSame($identities['tasks'][0]['task']['profile'], Manifest::PROFILE);
        self::assertSame($payload['predicate']['asked']['profile'], Manifest::PROFILE);
        self::assertSame($payload['predicate']['result']['gasSchedule'], Manifest::GAS_SCHEDULES[Manifest::PROFILE]);
        self::assertSame($payload['predicateType'], Receipt::PREDICATE_TYPE);
        self::assertSame($payload['_type'], Receipt::STATEMENT_TYPE);
    }

    /**
     * @dataProvider handles
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('handles')]
    public function testHandles(array $case): void
    {
        $peer = PeerId::parse($case['peer_id']);
        $handle = Handle::of($case['job_id'], sodium_hex2bin($case['secret_hex']), $peer);

        self::assertSame($case['text'], (string) $handle);
        self::assertSame($case['text'], (string) Handle::parse($case['text']));
        foreach ($case['tokens'] as $token) {
            self::assertSame($token['token_hex'], bin2hex($handle->token(PeerId::parse($token['peer_id']))));
        }
        self::assertSame($handle->token($peer), $handle->token());
    }

    /** @dataProvider handles */
    #[DataProvider('handles')]
    public function testADamagedHandleIsRecognised(array $case): void
    {
        $text = $case['text'];
        $damaged = [substr($text, 0, -1), "$text\n", 'phase1-' . substr($text, 7), '', $text . 'A'];
        foreach (range(7, strlen($text) - 1) as $at) {
            $damaged[] = substr_replace($text, $text[$at] === 'A' ? 'B' : 'A', $at, 1);
        }

        foreach ($damaged as $wrong) {
            try {
                Handle::parse($wrong);
                self::fail("accepted $wrong");
            } catch (InvalidRecord $exception) {
                self::assertSame('handle', $exception->record);
            }
        }
    }

    /**
     * @dataProvider pae
     *
     * @param array<string, string> $case
     */
    #[DataProvider('pae')]
    public function testPae(array $case): void
    {
        $pae = Envelope::pae($case['payload_type'], sodium_hex2bin($case['payload_hex']));

        self::assertSame($case['pae_hex'], bin2hex($pae));
    }

    public function testTheEnvelope(): void
    {
        $case = Vectors::load('identities')['envelope'];
        $signer = ReceiptSigner::fromSeed(sodium_hex2bin($case['seed_hex']));

        $envelope = Envelope::fromJson($case['envelope']);
        $verified = (new ReceiptVerifier())->verify($case['envelope'], new Expectation([$signer->peer]));

        self::assertSame($case['payload'], $envelope->payload);
        self::assertSame($case['payload_type'], $envelope->payloadType);
        self::assertSame($case['signature_hex'], bin2hex($envelope->signatures[0]->bytes));
        self::assertSame($case['envelope'], $signer->sign($case['payload'])->toJson());
        self::assertSame('18446744073709551615', $verified->receipt->claims->peakMemoryBytes);
        self::assertSame(['signature'], $verified->verdict->established);
    }

    /** @dataProvider keys */
    #[DataProvider('keys')]
    public function testKeyIds(array $case): void
    {
        self::assertSame($case['keyid'], Envelope::keyId(sodium_hex2bin($case['public_key_hex'])));
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function lists(): array
    {
        return Vectors::cases('lists');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function tasks(): array
    {
        return Vectors::cases('tasks');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function manifests(): array
    {
        return Vectors::cases('manifests');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function handles(): array
    {
        return Vectors::cases('handles');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function pae(): array
    {
        return Vectors::cases('pae');
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function keys(): array
    {
        return Vectors::cases('keys');
    }
}
