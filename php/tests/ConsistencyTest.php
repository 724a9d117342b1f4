<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Digest;
use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\WrongOutput;
use Plasm\Expectation;
use Plasm\Limits;
use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\Receipt;
use Plasm\Receipt\Consistency;
use Plasm\ReceiptVerifier;
use Plasm\Task;
use Plasm\Testing\ReceiptSigner;

/** What contradicts itself is rejected, by the vectors that pytest holds the Python client to. */
final class ConsistencyTest extends TestCase
{
    /**
     * @dataProvider cases
     *
     * @param array{statement: string, manifest: string, breaks: list<string>} $case
     */
    #[DataProvider('cases')]
    public function testTheRulesThatAReceiptBreaksAreNamed(array $case): void
    {
        $receipt = Receipt::fromStatement($case['statement']);

        $broken = Consistency::contradictions($receipt, Manifest::fromJson($case['manifest']));
        $without = Consistency::contradictions($receipt);

        self::assertEqualsCanonicalizing($case['breaks'], $broken);
        self::assertEqualsCanonicalizing(array_diff($case['breaks'], ['attempt-within-retries']), $without);
    }

    /**
     * @dataProvider cases
     *
     * @param array{statement: string, manifest: string, breaks: list<string>} $case
     */
    #[DataProvider('cases')]
    public function testAGoodSignatureDoesNotMakeAContradictionTrue(array $case): void
    {
        $signer = ReceiptSigner::fromSeed(implode('', array_map(chr(...), range(0, 31))));
        $expectation = new Expectation([$signer->peer], manifest: Manifest::fromJson($case['manifest']));
        $reasons = [];
        try {
            (new ReceiptVerifier())->verify($signer->sign($case['statement'])->toJson(), $expectation);
        } catch (ContradictoryReceipt $exception) {
            $reasons = $exception->reasons;
        }

        $expected = array_map(static fn (string $rule): string => "the receipt contradicts itself: $rule", $case['breaks']);
        self::assertEqualsCanonicalizing($expected, $reasons);
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function cases(): array
    {
        $cases = Vectors::load('consistency')['cases'];

        return array_combine(array_column($cases, 'name'), array_map(static fn (array $case): array => [$case], $cases));
    }

    /** @dataProvider outcomes */
    #[DataProvider('outcomes')]
    public function testTheTestSignersReceiptsAreConsistent(Outcome $outcome, string $stdout): void
    {
        $manifest = Manifest::forTask(new Task(
            Manifest::PROFILE,
            Digest::EMPTY,
            Digest::EMPTY,
            Digest::EMPTY,
            Digest::EMPTY,
            Manifest::ZERO_SEED,
            new Limits(),
            [],
        ));
        $signer = ReceiptSigner::withFreshKey();

        $receipt = (new ReceiptVerifier())->verify(
            $signer->receipt($manifest, $outcome, $stdout),
            new Expectation([$signer->peer], manifest: $manifest, stdoutBytes: strlen($stdout), stderrBytes: 0),
        )->receipt;

        self::assertSame([], Consistency::contradictions($receipt, $manifest));
    }

    /** @return list<array{Outcome, string}> */
    public static function outcomes(): array
    {
        return [
            [Outcome::exited(0), ''],
            [Outcome::exited(3), str_repeat('x', 5000)],
            [Outcome::trapped('unreachable'), 'x'],
            [Outcome::outOfGas(), 'x'],
            [Outcome::cancelled(), 'x'],
            [Outcome::systemError('why'), ''],
        ];
    }

    public function testTheSizeOfTheOutputIsComparedWithTheReceipts(): void
    {
        $signer = ReceiptSigner::withFreshKey();
        $case = self::cases()['as it should be'][0];
        $envelope = $signer->sign(str_replace(
            Vectors::load('identities')['keys'][0]['peer_id'],
            (string) $signer->peer,
            $case['statement'],
        ))->toJson();
        (new ReceiptVerifier())->verify($envelope, new Expectation([$signer->peer], stdoutBytes: 0, stderrBytes: 0));
        $this->expectException(WrongOutput::class);

        (new ReceiptVerifier())->verify($envelope, new Expectation([$signer->peer], stdoutBytes: 0, stderrBytes: 1));
    }
}
