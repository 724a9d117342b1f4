<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Capabilities\CapabilityRecord;
use Plasm\Envelope;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Manifest;
use Plasm\PeerId;
use Plasm\Remote\NodeClass;

/** What a node says of itself, by the vectors that pytest holds the Python client to. */
final class CapabilityRecordTest extends TestCase
{
    /**
     * @dataProvider records
     *
     * @param array<string, string> $case
     */
    #[DataProvider('records')]
    public function testARecordIsBelievedOrNot(array $case): void
    {
        $vectors = Vectors::load('capabilities');
        $now = (float) (new \DateTimeImmutable($case['now']))->format('U.u');
        $problem = '';
        try {
            $record = CapabilityRecord::open($case['envelope'], PeerId::parse($vectors['peer']), $now);
        } catch (InvalidRecord $exception) {
            $problem = $exception->getMessage();
        }

        if ($case['problem'] !== '') {
            self::assertStringContainsString($case['problem'], $problem);
        } else {
            self::assertSame('', $problem);
            self::assertSame(['simd', 'f32-bits'], $record->engines[0]->features ?? null);
            self::assertSame([1, 100], [$record->load->running, $record->load->capacity]);
            self::assertSame('plasm/0.1.0 ☃', $record->agent);
        }
    }

    /** @return array<string, array{array<string, string>}> */
    public static function records(): array
    {
        $cases = Vectors::load('capabilities')['records'];

        return array_combine(array_column($cases, 'name'), array_map(static fn (array $case): array => [$case], $cases));
    }

    public function testARequirementThatANodeLacksIsReported(): void
    {
        $vectors = Vectors::load('capabilities');
        $now = (float) (new \DateTimeImmutable($vectors['records'][0]['now']))->format('U');
        foreach ($vectors['needs'] as $case) {
            $record = CapabilityRecord::open($case['envelope'], PeerId::parse($vectors['peer']), $now);
            $manifest = Manifest::fromJson($case['manifest']);

            self::assertSame($case['lacks'], $record->lacks($manifest, $case['module_bytes'], $case['stdin_bytes']));
        }
    }

    public function testARecordThatIsTooLongIsNotRead(): void
    {
        $pair = sodium_crypto_sign_keypair();
        $peer = PeerId::fromPublicKey(sodium_crypto_sign_publickey($pair));
        $payload = '{"agent":"' . str_repeat('x', CapabilityRecord::MAX_BYTES) . '"}';
        $envelope = Envelope::sign($payload, CapabilityRecord::TYPE, sodium_crypto_sign_secretkey($pair));
        $this->expectException(InvalidRecord::class);
        $this->expectExceptionMessage('more than the 65536 allowed');

        CapabilityRecord::open($envelope->toJson(), $peer, 0.0);
    }

    public function testTheKeysOfAClass(): void
    {
        $vectors = Vectors::load('capabilities');
        foreach ($vectors['keys'] as $case) {
            self::assertSame($case['key_hex'], bin2hex((new NodeClass($case['class']))->key($case['shard'])));
        }
        $shuffled = (new NodeClass(NodeClass::ANY_NODE))->shuffledKeys();

        self::assertSame($vectors['shards'], count(array_unique($shuffled)));
        self::assertEquals(new NodeClass("peer/{$vectors['peer']}"), NodeClass::ofPeer(PeerId::parse($vectors['peer'])));
    }

    public function testAClassHasAName(): void
    {
        $this->expectException(InvalidArgument::class);

        new NodeClass('any node');
    }
}
