<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Digest;
use Plasm\Exception\InvalidRecord;
use Plasm\Limits;
use Plasm\Manifest;
use Plasm\Task;

final class ManifestTest extends TestCase
{
    public function testItIsWrittenAsThePythonClientWritesIt(): void
    {
        $vector = Vectors::load('identities')['manifests'][0]['manifest'];
        $sorted = str_replace('["random.real","clock.real"]', '["clock.real","random.real"]', $vector);

        $manifest = Manifest::forTask(Manifest::fromJson($vector)->task);
        $json = str_replace($manifest->nonce, '000102030405060708090a0b0c0d0e0f', $manifest->json);

        self::assertSame($sorted, $json);
    }

    public function testNoCapabilitiesAreAnEmptyList(): void
    {
        self::assertStringContainsString('"capabilities":[],', self::manifest()->json);
    }

    public function testTwoSubmissionsOfOneTaskAreTwoJobs(): void
    {
        $first = self::manifest();
        $second = self::manifest();

        self::assertSame($first->taskDigest(), $second->taskDigest());
        self::assertNotSame($first->jobId(), $second->jobId());
    }

    /** @dataProvider wrong */
    #[DataProvider('wrong')]
    public function testErrorsAreNamedWithTheirPath(string $json, string $message): void
    {
        try {
            Manifest::fromJson($json);
        } catch (InvalidRecord $exception) {
            self::assertStringContainsString($message, $exception->getMessage());

            return;
        }
        self::fail('it was accepted');
    }

    /** @return array<string, array{string, string}> */
    public static function wrong(): array
    {
        $good = self::manifest()->json;
        $with = static fn (string $from, string $to): string => self::replaced($good, $from, $to);
        $gas = '"gas":' . Limits::DEFAULT_GAS;

        return [
            'empty' => ['', 'not JSON'],
            'a list' => ['[]', 'expected an object'],
            'nothing in it' => ['{}', 'limits: required, but missing'],
            'too long' => [$good . str_repeat(' ', 65_536), 'more than the 65536 allowed'],
            'a byte order mark' => ["\u{FEFF}$good", 'not JSON'],
            'not UTF-8' => [$with('plasm.det', "plasm\xff.det"), 'not JSON'],
            'half a character' => [$with('plasm.det', 'plasm\ud800.det'), 'not JSON'],
            'a name twice' => [$with('"cpu":1', '"cpu":1,"cpu":1'), 'a name occurs twice'],
            'a name twice, once escaped' => [$with('"cpu":1', '"cpu":1,"\u0063pu":1'), 'a name occurs twice'],
            'a name twice below' => [$with('"attempts":3', '"attempts":3, "attempts" : 3'), 'a name occurs twice'],
            'nested too deeply' => [str_repeat('[', 1000) . str_repeat(']', 1000), 'not JSON'],
            'an unknown field' => [$with('"cpu":1', '"cpu":1,"gpu":1'), 'gpu: unknown field'],
            'an unknown limit' => [$with($gas, "$gas,\"disk\":1"), 'limits.disk: unknown field'],
            'another profile' => [$with(Manifest::PROFILE, 'plasm.det/v9'), 'profile: expected "' . Manifest::PROFILE],
            'another format' => [$with(Manifest::FORMAT, 'phase.manifest/v9'), 'format: expected'],
            'a digest in capitals' => [$with(Digest::EMPTY, strtoupper(Digest::EMPTY)), 'args: expected 64 lower-case'],
            'a digest with a line end' => [$with(Digest::EMPTY, Digest::EMPTY . '\n'), 'args: expected 64 lower-case'],
            'no gas' => [$with($gas, '"gas":0'), 'limits.gas: expected an integer ≥ 1, got 0'],
            'gas beyond 2^53' => [$with($gas, '"gas":9007199254740992'), 'limits.gas: expected an integer ≤ 9007199254740991'],
            'gas beyond 2^64' => [$with($gas, '"gas":18446744073709551616'), 'limits.gas: expected an integer ≤'],
            'gas as text' => [$with($gas, '"gas":"10000000000"'), 'limits.gas: expected an integer'],
            'gas as a fraction' => [$with($gas, '"gas":1.5'), 'limits.gas: expected an integer'],
            'gas without end' => [$with($gas, '"gas":1e999'), 'limits.gas: expected an integer'],
            'gas as truth' => [$with($gas, '"gas":true'), 'limits.gas: expected an integer ≥ 1, got true'],
            'too much memory' => [$with('268435456', '4294967297'), 'limits.memory_bytes: expected an integer ≤ 4294967296'],
            'too little memory' => [$with('268435456', '65535'), 'limits.memory_bytes: expected an integer ≥ 65536'],
            'too many processors' => [$with('"cpu":1', '"cpu":1025'), 'cpu: expected an integer ≤ 1024'],
            'a capability twice' => [$with('[]', '["clock.real","clock.real"]'), 'capabilities: expected a list of distinct'],
            'an unknown capability' => [$with('[]', '["files"]'), 'capabilities: expected a list'],
            'capabilities as an object' => [$with('[]', '{}'), 'capabilities: expected a list'],
            'limits as a list' => [$with('"retry":{"attempts":3}', '"retry":[]'), 'retry: expected an object'],
        ];
    }

    public function testWholeFloatsAreIntegers(): void
    {
        $json = self::replaced(self::manifest()->json, '"gas":10000000000', '"gas":9007199254740991.0');

        self::assertSame(9_007_199_254_740_991, Manifest::fromJson($json)->task->limits->gas);
    }

    public function testLimitsThatNoManifestCanAskForAreRefused(): void
    {
        $this->expectException(InvalidRecord::class);
        $this->expectExceptionMessage('memory_bytes: expected an integer from 65536 to 4294967296, got 1');

        new Limits(memoryBytes: 1);
    }

    private static function manifest(): Manifest
    {
        return Manifest::forTask(new Task(
            Manifest::PROFILE,
            Digest::of('module'),
            Digest::EMPTY,
            Digest::EMPTY,
            Digest::EMPTY,
            Manifest::ZERO_SEED,
            new Limits(),
            [],
        ));
    }

    private static function replaced(string $text, string $from, string $to): string
    {
        $at = strpos($text, $from);
        assert($at !== false);

        return substr_replace($text, $to, $at, strlen($from));
    }
}
