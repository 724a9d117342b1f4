<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Envelope;
use Plasm\Exception\ProofRefused;
use Plasm\Fraud\FraudProof;
use Plasm\Fraud\ProofFiles;
use Plasm\Outcome;
use Plasm\Submission;
use Plasm\Testing\ReceiptSigner;

/** A fraud proof is refused, left open or proven, by the vectors that pytest holds Python to. */
final class FraudProofTest extends TestCase
{
    private string $home;
    private string|false $state;

    protected function setUp(): void
    {
        $this->state = getenv('XDG_STATE_HOME');
        $this->home = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(8));
        mkdir($this->home, 0700);
        putenv("XDG_STATE_HOME=$this->home");
    }

    protected function tearDown(): void
    {
        putenv($this->state === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->state");
        exec('rm -rf ' . escapeshellarg($this->home));
    }

    /**
     * @dataProvider cases
     *
     * @param array<string, mixed> $case
     */
    #[DataProvider('cases')]
    public function testAProofIsRefusedOrComparedAsItsVectorSays(array $case): void
    {
        try {
            $found = FraudProof::fromJson($case['proof'])->compare();
        } catch (ProofRefused $refused) {
            self::assertSame($case['refused'], $refused->reason);

            return;
        }

        self::assertNull($case['refused']);
        self::assertSame($case['differ'], $found->differ());
        self::assertSame($case['convicted'], array_map(strval(...), $found->convicted));
        self::assertSame($case['missing'], $found->missing);
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function cases(): array
    {
        $cases = Vectors::load('fraud')['cases'];

        return array_combine(array_column($cases, 'name'), array_map(static fn (array $case): array => [$case], $cases));
    }

    public function testAProofIsAPrivateFileAndTheSameReceiptsGiveTheSameFile(): void
    {
        [$job, $first, $second] = self::differing();
        $path = ProofFiles::keep([$first, $second], FraudProof::inputsOf($job));
        $again = ProofFiles::keep([$second, $first], []);

        self::assertNotNull($path);
        self::assertSame($path, $again);
        self::assertSame(0600, fileperms($path) & 0777);
        self::assertSame(0700, fileperms(dirname($path)) & 0777);
        $proof = FraudProof::fromJson((string) file_get_contents($path));
        self::assertTrue($proof->compare()->differ());
        self::assertSame([], $proof->compare()->missing);
        self::assertCount(1, glob(dirname($path) . '/*') ?: []);
    }

    public function testNothingIsKeptOfWhatProvesNothing(): void
    {
        [$job, $first] = self::differing();
        $forger = ReceiptSigner::withFreshKey();
        $forged = $forger->sign($first->payload);

        self::assertNull(ProofFiles::keep([$first, $forged], FraudProof::inputsOf($job)));
        self::assertNull(ProofFiles::keep([], []));
        self::assertSame([], glob("$this->home/plasm/fraud-proofs/*") ?: []);
    }

    public function testEachReceiptIsKeptOnceWithItsNodesSignatureOnly(): void
    {
        [, $first, $second] = self::differing();
        $swollen = json_decode($second->toJson(), true);
        $more = json_decode($first->toJson(), true)['signatures'];
        $swollen['signatures'] = [...$more, ...$more, ...$swollen['signatures']];
        $proof = FraudProof::of([$first, Envelope::fromJson((string) json_encode($swollen)), $first]);

        self::assertCount(2, $proof->envelopes);
        foreach ($proof->envelopes as $envelope) {
            self::assertCount(1, $envelope->signatures);
        }
        self::assertEquals(FraudProof::of([$second, $first]), $proof);
    }

    public function testAHugeFileIsRefusedBeforeItIsParsed(): void
    {
        $this->expectException(ProofRefused::class);
        $this->expectExceptionMessage('more than');

        FraudProof::fromJson(str_repeat(' ', FraudProof::MAX_BYTES + 1));
    }

    public function testALinkInPlaceOfTheDirectoryIsNotFollowed(): void
    {
        [$job, $first, $second] = self::differing();
        mkdir("$this->home/plasm", 0700);
        mkdir("$this->home/elsewhere", 0700);
        symlink("$this->home/elsewhere", "$this->home/plasm/fraud-proofs");

        self::assertNull(ProofFiles::keep([$first, $second], FraudProof::inputsOf($job)));
        self::assertSame([], glob("$this->home/elsewhere/*") ?: []);
    }

    /** @return array{Submission, Envelope, Envelope} */
    private static function differing(): array
    {
        $job = Submission::create("\0asm\1\0\0\0", ['args' => ['one'], 'stdin' => 'input']);
        $signed = static fn (string $stdout): Envelope => Envelope::fromJson(
            ReceiptSigner::withFreshKey()->receipt($job->manifest, Outcome::exited(0), $stdout),
        );

        return [$job, $signed('true'), $signed('false')];
    }
}
