<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Digest;
use Plasm\Envelope;
use Plasm\Exception\BadSignature;
use Plasm\Exception\MalformedReceipt;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\UntrustedSigner;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongNode;
use Plasm\Exception\WrongOutput;
use Plasm\Exception\WrongTask;
use Plasm\Expectation;
use Plasm\Limits;
use Plasm\Manifest;
use Plasm\Outcome;
use Plasm\PeerId;
use Plasm\ReceiptVerifier;
use Plasm\Record\Json;
use Plasm\Standing;
use Plasm\Task;
use Plasm\Testing\ReceiptSigner;
use Plasm\Verdict;

final class ReceiptVerifierTest extends TestCase
{
    private ReceiptSigner $node;
    private Manifest $manifest;

    protected function setUp(): void
    {
        $this->node = ReceiptSigner::withFreshKey();
        $this->manifest = self::manifest();
    }

    public function testAReceiptThatHoldsSaysWhatWasEstablished(): void
    {
        $verified = (new ReceiptVerifier())->verify($this->receipt(), $this->expectation());

        $all = ['signature', 'node', 'job', 'task', 'module', 'args', 'env', 'stdin', 'stdout', 'stderr'];
        self::assertSame($all, $verified->verdict->established);
        self::assertTrue($verified->verdict->signer->equals($this->node->peer));
        self::assertTrue($verified->receipt->observed->outcome->ok());
        self::assertStringContainsString("signed by {$this->node->peer}, not re-executed", (string) $verified->verdict);
    }

    /** @dataProvider words */
    #[DataProvider('words')]
    public function testAVerdictIsWordedAsInPython(string $standing, string $words): void
    {
        $peer = PeerId::parse(rtrim(explode(' ', $words)[2], ','));
        $cases = array_column(Standing::cases(), null, 'name');

        $verdict = new Verdict($peer, ['signature'], $cases[ucfirst($standing)]);

        self::assertSame("Receipt verified ✓ $words", (string) $verdict);
    }

    /** @return iterable<string, array{string, string}> */
    public static function words(): iterable
    {
        foreach (Vectors::load('verdicts') as $case) {
            yield $case['standing'] => [$case['standing'], $case['words']];
        }
    }

    public function testOnlyWhatIsKnownIsEstablished(): void
    {
        $verified = (new ReceiptVerifier())->verify(
            $this->receipt(),
            new Expectation([$this->node->peer], stdout: Digest::of('out')),
        );

        self::assertSame(['signature', 'stdout'], $verified->verdict->established);
    }

    /** @dataProvider contradictions */
    #[DataProvider('contradictions')]
    public function testEachContradictionHasItsOwnException(string $exception, \Closure $change): void
    {
        $this->expectException($exception);

        (new ReceiptVerifier())->verify($this->receipt(), $change($this->expectation()));
    }

    /** @return array<string, array{class-string, \Closure(Expectation): Expectation}> */
    public static function contradictions(): array
    {
        $other = ReceiptSigner::withFreshKey()->peer;
        $with = static fn (array $changes): \Closure => static fn (Expectation $expectation): Expectation
            => new Expectation(...[...get_object_vars($expectation), ...$changes]);

        return [
            'no key is trusted' => [UntrustedSigner::class, $with(['trusted' => []])],
            'another key is trusted' => [UntrustedSigner::class, $with(['trusted' => [$other]])],
            'another node answered' => [WrongNode::class, $with(['node' => $other])],
            'another job' => [WrongJob::class, $with(['jobId' => Digest::of('another')])],
            'another submission of the task' => [
                WrongJob::class,
                static fn (Expectation $expectation): Expectation => $with([
                    'jobId' => null,
                    'manifest' => Manifest::forTask($expectation->manifest?->task ?? throw new \LogicException()),
                ])($expectation),
            ],
            'another task' => [WrongJob::class, $with(['jobId' => null, 'manifest' => self::manifest('other')])],
            'another module' => [WrongTask::class, $with(['module' => Digest::of('other')])],
            'other arguments' => [WrongTask::class, $with(['args' => Digest::of('other')])],
            'another environment' => [WrongTask::class, $with(['env' => Digest::of('other')])],
            'other input' => [WrongTask::class, $with(['stdin' => Digest::of('other')])],
            'other output' => [WrongOutput::class, $with(['stdout' => Digest::of('other')])],
            'other error output' => [WrongOutput::class, $with(['stderr' => Digest::of('other')])],
        ];
    }

    public function testEveryChangedByteIsFound(): void
    {
        $json = $this->receipt();
        $expectation = $this->expectation();
        $inKeyId = range($start = (int) strpos($json, '"keyid":"') + 9, $start + 63);

        foreach (array_diff(range(0, strlen($json) - 1), $inKeyId) as $at) {
            $changed = substr_replace($json, $json[$at] === '0' ? '1' : '0', $at, 1);
            try {
                (new ReceiptVerifier())->verify($changed, $expectation);
            } catch (BadSignature | MalformedReceipt) {
                continue;
            }
            // The name of the hint: one that nobody knows is ignored.
            self::assertSame('keyid', substr($json, $at - strpos("keyid", $json[$at]), 5), "byte $at was changed unnoticed");
        }
    }

    public function testTheKeyIdIsAHintOnly(): void
    {
        $envelope = self::decoded($this->receipt());
        $envelope['signatures'][0]['keyid'] = 'nonsense';
        $wrong = Json::encode($envelope);
        unset($envelope['signatures'][0]['keyid']);
        $none = Json::encode($envelope);

        foreach ([$wrong, $none] as $json) {
            $verified = (new ReceiptVerifier())->verify($json, $this->expectation());
            self::assertTrue($verified->verdict->signer->equals($this->node->peer));
        }
    }

    public function testBothAlphabetsAreRead(): void
    {
        $envelope = self::decoded($this->receipt());
        $envelope['payload'] = strtr($envelope['payload'], '+/', '-_');
        $envelope['signatures'][0]['sig'] = strtr($envelope['signatures'][0]['sig'], '+/', '-_');

        $verified = (new ReceiptVerifier())->verify(Json::encode($envelope), $this->expectation());

        self::assertContains('signature', $verified->verdict->established);
    }

    public function testStrayBitsOfBase64AreRefused(): void
    {
        $envelope = self::decoded($this->receipt());
        $sig = $envelope['signatures'][0]['sig'];
        self::assertStringEndsWith('==', $sig);
        // The last character before the padding holds four bits that nothing uses.
        $alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
        $envelope['signatures'][0]['sig'] = substr($sig, 0, -3) . $alphabet[strpos($alphabet, $sig[-3]) + 1] . '==';
        $this->expectException(MalformedReceipt::class);
        $this->expectExceptionMessage('signatures[0].sig: expected canonical base64');

        (new ReceiptVerifier())->verify(Json::encode($envelope), $this->expectation());
    }

    public function testTheNodesSignatureIsFoundAmongOthers(): void
    {
        $envelope = self::decoded($this->receipt());
        $other = self::decoded(ReceiptSigner::withFreshKey()->sign(base64_decode($envelope['payload']))->toJson());
        $short = ['keyid' => '', 'sig' => base64_encode('short')];
        $envelope['signatures'] = [$short, $other['signatures'][0], $envelope['signatures'][0]];

        $verified = (new ReceiptVerifier())->verify(Json::encode($envelope), $this->expectation());

        self::assertTrue($verified->verdict->signer->equals($this->node->peer));
    }

    /** A trusted key's signature under another node's receipt proves nothing of that node's work. */
    public function testATrustedKeyCannotSignForAnotherNode(): void
    {
        $payload = Envelope::fromJson(ReceiptSigner::withFreshKey()->receipt($this->manifest, Outcome::exited(0), 'out'))->payload;
        $this->expectException(WrongNode::class);

        (new ReceiptVerifier())->verify($this->node->sign($payload)->toJson(), $this->expectation());
    }

    public function testSignaturesAreBounded(): void
    {
        $envelope = self::decoded($this->receipt());
        $envelope['signatures'] = array_fill(0, 65, $envelope['signatures'][0]);
        $this->expectException(MalformedReceipt::class);
        $this->expectExceptionMessage('1 to 64 signatures');

        (new ReceiptVerifier())->verify(Json::encode($envelope), $this->expectation());
    }

    public function testAPayloadOfAnotherTypeIsRefused(): void
    {
        $keyPair = sodium_crypto_sign_seed_keypair(str_repeat("\7", 32));
        $node = ReceiptSigner::fromSeed(str_repeat("\7", 32));
        $payload = Envelope::fromJson($node->receipt($this->manifest, Outcome::exited(0), 'out'))->payload;
        $envelope = Envelope::sign($payload, 'text/plain', sodium_crypto_sign_secretkey($keyPair));
        $this->expectException(MalformedReceipt::class);
        $this->expectExceptionMessage('not of the type');

        (new ReceiptVerifier())->verify($envelope->toJson(), new Expectation([$node->peer]));
    }

    /** @dataProvider malformed */
    #[DataProvider('malformed')]
    public function testAWellSignedStatementThatIsNoReceiptIsRefused(\Closure $change, string $message): void
    {
        $statement = $this->node->statement($this->manifest, Outcome::exited(0), 'out', '');
        $envelope = $this->node->sign(Json::encode($change($statement)))->toJson();
        $this->expectException(MalformedReceipt::class);
        $this->expectExceptionMessage($message);

        (new ReceiptVerifier())->verify($envelope, $this->expectation());
    }

    /** @return array<string, array{\Closure(array<string, mixed>): array<string, mixed>, string}> */
    public static function malformed(): array
    {
        $set = static fn (string $path, mixed $value): \Closure => static fn (array $statement): array
            => self::changed($statement, explode('.', $path), $value);
        $result = 'predicate.result';

        return [
            'another type' => [$set('_type', 'https://in-toto.io/Statement/v2'), '_type: expected'],
            'another predicate' => [$set('predicateType', 'urn:other'), 'predicateType: expected'],
            'one subject' => [$set('subject.1', null), 'subject[1]: expected an object'],
            'a subject twice' => [$set('subject.1.name', 'stdout'), 'subject: expected stdout and stderr, once each'],
            'no predicate' => [$set('predicate', null), 'predicate: expected an object, got null'],
            'a task digest of something else' => [
                $set('predicate.asked.taskDigest', Digest::of('other')),
                'taskDigest: not the digest of the fields beside it',
            ],
            'gas as a number' => [$set("$result.gasUsed", 1000), 'gasUsed: expected a decimal string, got 1000'],
            'gas beyond 64 bits' => [$set("$result.gasUsed", '18446744073709551616'), 'gasUsed: expected a decimal'],
            'gas with a zero before it' => [$set("$result.gasUsed", '01'), 'gasUsed: expected a decimal string'],
            'limits no manifest can ask for' => [$set('predicate.asked.limits.gas', '18446744073709551615'), 'limits'],
            'not reproducible, without a reason' => [$set("$result.reproducible", false), 'contradicts the capabilities'],
            'a code that did not exit' => [$set("$result.outcome.kind", 'out_of_gas'), 'code goes with exited'],
            'exited without a code' => [$set("$result.outcome.code", null), 'code goes with exited'],
            'a code beyond 32 bits' => [$set("$result.outcome.code", 4294967296), 'code: expected an integer ≤ 4294967295'],
            'a trap that exited' => [$set("$result.outcome.trap", 'unreachable'), 'trap goes with trapped'],
            'an unknown trap' => [$set("$result.outcome.trap", 'boredom'), 'trap: expected'],
            'a detail that exited' => [$set("$result.outcome.detail", 'why'), 'detail goes with'],
            'an unknown outcome' => [$set("$result.outcome.kind", 'won'), 'kind: expected'],
            'a day not in the calendar' => [$set('predicate.claims.startedAt', '2026-02-30T00:00:00Z'), 'startedAt'],
            'a leap second' => [$set('predicate.claims.startedAt', '2026-06-30T23:59:60Z'), 'startedAt'],
            'a time of elsewhere' => [$set('predicate.claims.finishedAt', '2026-01-01T00:00:00+01:00'), 'finishedAt'],
            'the year 0' => [$set('predicate.claims.finishedAt', '0000-01-01T00:00:00Z'), 'finishedAt'],
            'attempt 0' => [$set('predicate.claims.attempt', 0), 'attempt: expected an integer ≥ 1'],
            'attempt null' => [$set('predicate.claims.attempt', null), 'attempt: expected an integer'],
            'another gas schedule' => [$set("$result.gasSchedule", 'plasm.gas/v9'), 'gasSchedule: expected'],
            'no PeerId' => [$set('predicate.node.peerId', 'me'), 'node.peerId: expected the PeerId'],
        ];
    }

    public function testUnknownFieldsOfAReceiptAreIgnored(): void
    {
        $statement = $this->node->statement($this->manifest, Outcome::exited(0), 'out', '');
        foreach (['note', 'predicate.note', 'predicate.asked.note', 'predicate.result.outcome.note'] as $path) {
            $statement = self::changed($statement, explode('.', $path), ['any' => ['thing', 2 ** 60, null]]);
        }

        $verified = (new ReceiptVerifier())->verify($this->node->sign(Json::encode($statement))->toJson(), $this->expectation());

        self::assertSame(0, $verified->receipt->observed->outcome->code);
    }

    public function testAllOfThemCanBeCaughtAsOne(): void
    {
        try {
            (new ReceiptVerifier())->verify('{}', $this->expectation());
            self::fail('it was accepted');
        } catch (ReceiptRejected $exception) {
            self::assertCount(1, $exception->reasons);
            self::assertStringStartsWith('receipt rejected: not a valid envelope: payload: required', $exception->getMessage());
        }
    }

    private function receipt(): string
    {
        return $this->node->receipt($this->manifest, Outcome::exited(0), 'out');
    }

    private function expectation(): Expectation
    {
        return new Expectation(
            trusted: [$this->node->peer],
            node: $this->node->peer,
            jobId: $this->manifest->jobId(),
            manifest: $this->manifest,
            stdout: Digest::of('out'),
            stderr: Digest::EMPTY,
        );
    }

    private static function manifest(string $module = 'module'): Manifest
    {
        $empty = Digest::EMPTY;

        return Manifest::forTask(
            new Task(Manifest::PROFILE, Digest::of($module), $empty, $empty, $empty, Manifest::ZERO_SEED, new Limits(), []),
        );
    }

    /** @return array<string, mixed> */
    private static function decoded(string $json): array
    {
        $value = json_decode($json, true, flags: JSON_THROW_ON_ERROR);
        assert(is_array($value));

        return $value;
    }

    /**
     * @param array<int|string, mixed> $value
     * @param non-empty-list<string> $path
     *
     * @return array<int|string, mixed>
     */
    private static function changed(array $value, array $path, mixed $new): array
    {
        $name = array_shift($path);
        $value[$name] = $path === [] ? $new : self::changed($value[$name] ?? [], $path, $new);

        return $value;
    }
}
