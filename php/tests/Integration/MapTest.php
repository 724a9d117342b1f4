<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\TestCase;
use Plasm\Cache\ResultCache;
use Plasm\Client;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\Refused;
use Plasm\Handle;
use Plasm\JobResult;
use Plasm\JobState;

/** Many jobs of one client beside one another, on a real daemon. */
final class MapTest extends TestCase
{
    private const HELLO = __DIR__ . '/../../../examples/hello/hello.wasm';
    private const MODULES = __DIR__ . '/modules';

    private static ?Plasmd $daemon = null;

    private Client $plasm;

    public static function setUpBeforeClass(): void
    {
        self::$daemon = Plasmd::tryStart();
    }

    public static function tearDownAfterClass(): void
    {
        self::$daemon?->remove();
        self::$daemon = null;
    }

    protected function setUp(): void
    {
        if (self::$daemon === null) {
            self::markTestSkipped('plasmd is not installed here');
        }
        $this->plasm = new Client(['socket' => self::$daemon->socket]);
    }

    public function testResultsComeInTheOrderOfTheInputsUnderTheirKeys(): void
    {
        $inputs = [];
        for ($number = 0; $number < 30; ++$number) {
            $inputs["number $number"] = "value $number";
        }

        $outputs = array_map('strval', iterator_to_array($this->plasm->map(self::HELLO, $inputs)));

        self::assertSame(array_map('strrev', $inputs), $outputs);
    }

    public function testAnInputMayBeOptionsAndKeysMayRepeat(): void
    {
        $inputs = (static function (): \Generator {
            yield 'a' => ['stdin' => 'one'];
            yield 'a' => 'two';
            yield null => ['stdin' => 'three', 'wall_time' => 5];
        })();
        $found = [];
        foreach ($this->plasm->map(new \SplFileInfo(self::HELLO), $inputs, ['gas' => '1e9']) as $key => $result) {
            $found[] = [$key, (string) $result];
        }

        self::assertSame([['a', 'eno'], ['a', 'owt'], [null, 'eerht']], $found);
    }

    public function testThisClientAndTheCommandsTakeEachOthersResults(): void
    {
        $cache = new ResultCache(self::$daemon?->directory . '/cache/plasm/results');
        $plasm = new Client(['socket' => self::$daemon?->socket], reuse: $cache);
        $batch = ['map', '--reuse', '--quiet', '--lines', '-', self::HELLO];
        self::assertSame("eno\nowt\n", $this->command($batch, "one\ntwo\n"));
        $inputs = ['two' => "two\n", 'three' => "three\n"];

        $found = iterator_to_array($plasm->map(self::HELLO, $inputs));
        $shown = json_decode($this->command(['run', '--reuse', '--json', self::HELLO], "three\n"), true);

        self::assertSame(['two' => true, 'three' => false], array_map(static fn (JobResult $one): bool => $one->reused(), $found));
        self::assertSame(['two' => "owt\n", 'three' => "eerht\n"], array_map('strval', $found));
        self::assertTrue(is_array($shown) && $shown['reused']);
        self::assertSame($found['three']->receipt->asked->jobId, $shown['jobId']);
    }

    public function testJobsRunConcurrently(): void
    {
        // The first job runs until its time is over; the others end while it does.
        $inputs = [['wall_time' => 3, 'gas' => 10 ** 15], ...array_fill(0, 6, ['gas' => 1000])];
        $ends = [];
        foreach ($this->plasm->map(self::MODULES . '/spin.wasm', $inputs, inFlight: 2, ordered: false) as $key => $result) {
            self::assertInstanceOf(JobResult::class, $result);
            $ends[] = [$key, $result->outcome->kind->value];
        }

        self::assertSame([...array_map(static fn (int $key): array => [$key, 'out_of_gas'], range(1, 6)), [0, 'timed_out']], $ends);
    }

    public function testInputsAreReadAsThereIsRoom(): void
    {
        $read = 0;
        $inputs = (static function () use (&$read): \Generator {
            while (true) {
                ++$read;
                yield "input $read";
            }
        })();
        $seen = [];
        foreach ($this->plasm->map(self::HELLO, $inputs, inFlight: 3) as $key => $result) {
            $seen[] = $key;
            if (count($seen) === 5) {
                break;
            }
        }

        self::assertSame([0, 1, 2, 3, 4], $seen);
        self::assertLessThanOrEqual(5 + 4 * 3, $read);
    }

    public function testLeavingTheLoopCancelsWhatHasNotEnded(): void
    {
        $long = ['wall_time' => 600, 'gas' => 10 ** 15];
        $handle = null;
        // Which of the two was accepted last, and is known therefore, is chance.
        for ($attempt = 0; $handle === null && $attempt < 50; ++$attempt) {
            foreach ($this->plasm->map(self::MODULES . '/spin.wasm', [['gas' => 1000], $long], inFlight: 2) as $result) {
                $handle = $this->acceptedOtherThan($result);
                break;
            }
        }

        self::assertNotNull($handle);
        self::assertSame(JobState::Canceled, (new Client(['socket' => self::$daemon?->socket]))->wait($handle, 30.0)->state);
    }

    public function testAnErrorIsThrownInItsPlace(): void
    {
        $found = [];
        try {
            foreach ($this->plasm->map(self::HELLO, ['a', ['wall_time' => 86_400], 'b']) as $result) {
                $found[] = (string) $result;
            }
            self::fail('it was taken');
        } catch (Refused $exception) {
            self::assertSame(['a'], $found);
            self::assertStringContainsString('wall', $exception->getMessage());
        }
    }

    public function testAnErrorIsYieldedInItsPlaceIfThatIsWanted(): void
    {
        $found = [];
        foreach ($this->plasm->map(self::HELLO, ['a', ['wall_time' => 86_400], ['colour' => 'red'], 'b'], errors: true) as $result) {
            $found[] = $result instanceof ExceptionInterface ? $result::class : (string) $result;
        }

        self::assertSame(['a', Refused::class, InvalidArgument::class, 'b'], $found);
    }

    public function testThePageOfThumbnailsShowsEachPictureAndEachFailure(): void
    {
        $page = PhpServer::start(dirname(__DIR__, 3) . '/examples/thumbnails', self::$daemon?->environment() ?? []);
        try {
            $shown = $page->get('/');
            $none = $page->post('/', 'pictures[]', ['note.bmp' => 'no picture', 'empty.bmp' => '']);
        } finally {
            $page->stop();
        }

        self::assertSame(50, preg_match_all('~<img alt="sample \d+" src="data:image/bmp;base64,([^"]+)">~', $shown, $found));
        $first = (string) base64_decode($found[1][0], true);
        // 128 columns of 3 bytes and 96 rows behind the header; the first pixel is the mean of the first of the sample.
        self::assertSame(54 + 128 * 3 * 96, strlen($first));
        self::assertSame([5, 0, 250], array_values((array) unpack('C3', substr($first, 54, 3))));
        self::assertSame(2, preg_match_all('~class="failed"><figcaption>(note|empty)\.bmp: thumbnail: standard input is no~', $none));
    }

    public function testThePageOfThumbnailsNamesEachPictureThatPhpDidNotAccept(): void
    {
        $limits = ['upload_max_filesize' => '1K', 'post_max_size' => '8K'];
        $page = PhpServer::start(dirname(__DIR__, 3) . '/examples/thumbnails', self::$daemon?->environment() ?? [], $limits);
        try {
            $large = $page->post('/', 'pictures[]', ['large.bmp' => str_repeat('x', 2_000), 'note.bmp' => 'no picture']);
            $all = $page->post('/', 'pictures[]', array_fill_keys(['1.bmp', '2.bmp'], str_repeat('x', 6_000)));
        } finally {
            $page->stop();
        }

        self::assertMatchesRegularExpression('~class="failed"><figcaption>large\.bmp: [^<]*upload_max_filesize~', $large);
        self::assertMatchesRegularExpression('~class="failed"><figcaption>note\.bmp: thumbnail: standard input is no~', $large);
        self::assertMatchesRegularExpression('~class="failed">[^<]*post_max_size~', $all);
        self::assertStringNotContainsString('sample', $all);
    }

    public function testNothingIsRunForNoInputs(): void
    {
        self::assertSame([], iterator_to_array($this->plasm->map(self::HELLO, [])));
    }

    public function testHowManyAtOnceIsBounded(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('1 to 256');
        iterator_to_array($this->plasm->map(self::HELLO, ['a'], inFlight: 0));
    }

    public function testAnUnreadableModuleIsReportedAtOnce(): void
    {
        $this->expectException(InvalidArgument::class);
        $this->plasm->map('/nowhere/module.wasm', ['a']);
    }

    /**
     * Return what a command writes to stdout.
     *
     * @param list<string> $arguments
     */
    private function command(array $arguments, string $stdin): string
    {
        $here = dirname(__DIR__, 3) . '/.venv/bin/plasm';
        $streams = [['pipe', 'r'], ['pipe', 'w'], ['file', self::$daemon?->directory . '/commands', 'a']];
        $process = proc_open(
            [is_executable($here) ? $here : 'plasm', ...$arguments],
            $streams,
            $pipes,
            null,
            self::$daemon?->environment(),
        );
        self::assertIsResource($process);
        fwrite($pipes[0], $stdin);
        fclose($pipes[0]);
        $output = (string) stream_get_contents($pipes[1]);
        proc_close($process);

        return $output;
    }

    /** Return the handle of the job that was accepted and has not been yielded. */
    private function acceptedOtherThan(JobResult $result): ?string
    {
        $accepted = $this->plasm->accepted();

        return $accepted !== null && Handle::parse($accepted)->jobId !== $result->receipt->asked->jobId ? $accepted : null;
    }
}
