<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\PeerId;
use Plasm\Reputation;
use Plasm\Testing\ReceiptSigner;

/** What PHP clients know of nodes is one small private file: bounded, whole at any moment, shared by processes. */
final class ReputationTest extends TestCase
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

    public function testReputationIsKeptInAPrivateFile(): void
    {
        [$one, $two] = [self::peer(), self::peer()];
        self::assertTrue((new Reputation())->learn([$one], [$one], [$two], '/proof.json'));
        (new Reputation())->learn([$one]);

        $reputation = new Reputation();
        self::assertSame([2, 1, 0], self::counts($reputation, $one));
        self::assertSame([0, 0, 1], self::counts($reputation, $two));
        self::assertSame('/proof.json', $reputation->find($two)->proof);
        self::assertSame([0, 0, 0], self::counts($reputation, self::peer()));
        self::assertSame(0600, fileperms($this->file()) & 0777);
        self::assertSame(0700, fileperms(dirname($this->file())) & 0777);
    }

    public function testAConvictionStaysAndASecondProofChangesNothing(): void
    {
        [$liar, $honest] = [self::peer(), self::peer()];
        $reputation = new Reputation();
        $reputation->learn([$liar, $honest], [$liar, $honest]);
        $reputation->convict($liar, '/first.json');
        $before = $reputation->find($liar);
        $reputation->convict($liar, '/second.json');
        $reputation->learn([$liar], [$liar]);

        self::assertSame('/first.json', $reputation->find($liar)->proof);
        self::assertSame($before->convictedAt, $reputation->find($liar)->convictedAt);
        self::assertSame([(string) $liar], array_map(strval(...), $reputation->convicted()));
        $reputation->forget($liar);
        self::assertSame([], $reputation->convicted());
    }

    public function testManyKeysCannotGrowItNorHaveConvictionsForgotten(): void
    {
        $reputation = new Reputation();
        [$liar, $known] = [self::peer(), self::peer()];
        $reputation->convict($liar, '/proof.json');
        $reputation->learn([$known], [$known]);
        for ($round = 0; $round < 3; ++$round) {
            $reputation->learn([], [], array_map(self::peer(...), range(1, 1000)), str_repeat('/long', 100));
        }

        self::assertCount(2000, $reputation->all());
        self::assertNotNull($reputation->find($liar)->convictedAt);
        self::assertSame(1, $reputation->find($known)->checked);
        self::assertLessThanOrEqual(2 << 20, filesize($this->file()));
    }

    /** @return array<string, array{int, string}> */
    public static function convictions(): array
    {
        return [
            'as many as there are places' => [2000, '/proof.json'],
            'half as many' => [1000, '/proof.json'],
            'with long paths' => [1000, '/' . str_repeat('ü', 255)],
        ];
    }

    /** @dataProvider convictions */
    #[DataProvider('convictions')]
    public function testConvictedKeysLeavePlacesForHonestNodes(int $count, string $proof): void
    {
        $reputation = new Reputation();
        $reputation->learn([self::peer()]);
        $convicted = ['failed' => 1, 'convictedAt' => 1, 'lastSeen' => 1, 'proof' => $proof];
        $names = array_map(static fn (): string => (string) self::peer(), range(1, $count));
        $nodes = array_fill_keys($names, $convicted);
        file_put_contents($this->file(), json_encode(['format' => 'plasm.php-reputation/v0', 'nodes' => $nodes]));

        $honest = array_map(self::peer(...), range(1, 100));
        $reputation->learn($honest, $honest);
        $reputation->learn($honest, $honest);
        $reputation->convict($liar = self::peer(), '/proof.json');

        $known = $reputation->all();
        foreach ($honest as $peer) {
            self::assertSame(2, ($known[(string) $peer] ?? null)?->checked);
        }
        self::assertNotNull($known[(string) $liar]->convictedAt);
        self::assertGreaterThanOrEqual(500, count($reputation->convicted()));
        self::assertLessThanOrEqual(2 << 20, filesize($this->file()));
    }

    public function testTwoProcessesLoseNothingOfEachOther(): void
    {
        $seed = bin2hex(random_bytes(32));
        $script = 'require $argv[1]; $p = Plasm\Testing\ReceiptSigner::fromSeed(hex2bin($argv[2]))->peer;'
            . ' for ($i = 0; $i < 50; ++$i) { (new Plasm\Reputation())->learn([$p], [$p]); }';
        $autoload = dirname(__DIR__) . '/autoload.php';
        $running = [];
        for ($number = 0; $number < 3; ++$number) {
            $running[] = proc_open([PHP_BINARY, '-r', $script, '--', $autoload, $seed], [], $pipes);
        }
        foreach ($running as $process) {
            self::assertIsResource($process);
            self::assertSame(0, proc_close($process));
        }
        $peer = ReceiptSigner::fromSeed((string) hex2bin($seed))->peer;

        self::assertSame([150, 150, 0], self::counts(new Reputation(), $peer));
    }

    public function testAProcessThatIsKilledLeavesAWholeFile(): void
    {
        $seed = bin2hex(random_bytes(32));
        $script = 'require $argv[1]; $p = Plasm\Testing\ReceiptSigner::fromSeed(hex2bin($argv[2]))->peer;'
            . ' echo "ready"; while (true) { (new Plasm\Reputation())->learn([$p], [$p]); }';
        $autoload = dirname(__DIR__) . '/autoload.php';
        $peer = ReceiptSigner::fromSeed((string) hex2bin($seed))->peer;
        $last = 0;
        for ($round = 0; $round < 5; ++$round) {
            $process = proc_open([PHP_BINARY, '-r', $script, '--', $autoload, $seed], [1 => ['pipe', 'w']], $pipes);
            self::assertIsResource($process);
            fread($pipes[1], 5);
            while ((new Reputation())->find($peer)->checked <= $last + $round) {
                usleep(500);
            }
            proc_terminate($process, 9);
            proc_close($process);
            $now = (new Reputation())->find($peer)->checked;
            self::assertGreaterThan($last, $now);
            $last = $now;
        }
        self::assertFileDoesNotExist($this->file() . '.damaged');
        self::assertTrue((new Reputation())->learn([$peer]), 'no lock is left behind');
    }

    public function testADamagedFileIsMovedAsideAndNotWrittenOver(): void
    {
        (new Reputation())->learn([self::peer()]);
        file_put_contents($this->file(), '{"format":');

        self::assertSame([], (new Reputation())->all());
        self::assertSame('{"format":', file_get_contents($this->file() . '.damaged'));
        self::assertTrue((new Reputation())->learn([self::peer()]));
        self::assertCount(1, (new Reputation())->all());
    }

    public function testNonsenseInTheFileIsNobodysHistory(): void
    {
        $peer = self::peer();
        (new Reputation())->learn([$peer]);
        $item = ['accepted' => -5, 'checked' => 'many', 'failed' => 1.5, 'proof' => ['x'], 'convictedAt' => 'now'];
        $nodes = ['nobody' => [], (string) $peer => $item];
        file_put_contents($this->file(), json_encode(['format' => 'plasm.php-reputation/v0', 'nodes' => $nodes]));

        $reputation = new Reputation();
        self::assertSame([(string) $peer], array_keys($reputation->all()));
        self::assertSame([0, 0, 0], self::counts($reputation, $peer));
        self::assertSame([], $reputation->convicted());
    }

    public function testWithoutAPlaceNothingIsKnownAndNothingFails(): void
    {
        putenv('XDG_STATE_HOME=/proc/nowhere');

        self::assertFalse((new Reputation())->learn([self::peer()]));
        self::assertSame([], (new Reputation())->all());
    }

    /** @return array{int, int, int} */
    private static function counts(Reputation $reputation, PeerId $peer): array
    {
        $node = $reputation->find($peer);

        return [$node->accepted, $node->checked, $node->failed];
    }

    private static function peer(): PeerId
    {
        return ReceiptSigner::withFreshKey()->peer;
    }

    private function file(): string
    {
        return "$this->home/plasm/reputation/php.json";
    }
}
