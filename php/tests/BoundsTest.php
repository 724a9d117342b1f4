<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Bounds;
use Plasm\JobState;
use Plasm\Submission;
use Plasm\Tests\Support\FakeClock;

/** How long a node is waited for: by the client's clock, whatever the node says meanwhile. */
final class BoundsTest extends TestCase
{
    private FakeClock $clock;
    private Submission $job;

    protected function setUp(): void
    {
        $this->clock = new FakeClock();
        $this->job = Submission::create("\0asm\1\0\0\0", ['wall_time' => 60, 'stdin' => str_repeat('i', 163_840 - 10)]);
    }

    public function testAnUploadBuysTimeToAcceptIt(): void
    {
        $acceptance = Bounds::acceptance($this->clock, $this->job);

        self::assertEqualsWithDelta(Bounds::ACCEPT_S + 10.0, $acceptance->remaining(), 0.01);
    }

    /** @dataProvider states */
    #[DataProvider('states')]
    public function testNoStateExtendsTheWaitForTheStart(JobState $state): void
    {
        $bounds = new Bounds($this->clock, $this->job->manifest);
        for ($second = 0; $second < 10; ++$second) {
            $bounds->isIn($state);
            $this->clock->advance(1.0);
        }

        self::assertEqualsWithDelta(Bounds::START_S - 10.0, $bounds->deadline(0)->remaining(), 0.01);
    }

    /** @return array<string, array{JobState}> */
    public static function states(): array
    {
        return ['queued' => [JobState::Queued], 'initializing' => [JobState::Initializing]];
    }

    public function testNoStateExtendsTheRunAndOutputBuysLittle(): void
    {
        $bounds = new Bounds($this->clock, $this->job->manifest);
        $this->clock->advance(5.0);
        for ($second = 0; $second < 30; ++$second) {
            $bounds->isIn(JobState::Running);
            $this->clock->advance(1.0);
        }

        self::assertEqualsWithDelta(60.0 + Bounds::SLACK_S - 30.0, $bounds->deadline(0)->remaining(), 0.01);
        self::assertEqualsWithDelta(44.0, $bounds->deadline(4 * Bounds::LEAST_BYTES_PER_S)->remaining(), 0.01);
        $this->clock->advance(100.0);
        self::assertSame(0.0, $bounds->deadline(0)->remaining());
    }

    /** @dataProvider waits */
    #[DataProvider('waits')]
    public function testTheTimeIsOverByTheClientsClock(float $waitedS, bool $may): void
    {
        $bounds = new Bounds($this->clock, $this->job->manifest);
        $bounds->isIn(JobState::Running);
        $this->clock->advance($waitedS);

        self::assertSame($may, $bounds->mayHaveTimedOut());
    }

    /** @return array<string, array{float, bool}> */
    public static function waits(): array
    {
        return ['at once' => [0.0, false], 'half of it' => [30.0, false], 'nearly' => [55.5, false], 'over' => [56.5, true]];
    }
}
