<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Bounds;
use Plasm\Exception\NoNode;
use Plasm\Exception\TimedOut;
use Plasm\Failover;
use Plasm\JobState;
use Plasm\JobStatus;
use Plasm\PeerId;
use Plasm\RetryPolicy;
use Plasm\Submission;
use Plasm\Tests\Support\FakeClock;
use Plasm\Time\Deadline;
use Plasm\Transport\ChoosingTransportInterface;
use Plasm\Transport\SessionInterface;

/** How long a job stays with nodes that accept it and do nothing, and how long others are looked for then. */
final class FailoverTest extends TestCase
{
    private const WALL_TIME_S = 10;

    private FakeClock $clock;

    /** @var list<PeerId> nodes that accept every job, in the order in which they are found */
    private array $there = [];

    protected function setUp(): void
    {
        $this->clock = new FakeClock();
    }

    public function testEachNodeThatDelaysAJobShortensTheWaitForTheNext(): void
    {
        $this->there = self::peers(8);
        $failover = $this->failover();
        $waited = [];
        foreach ($this->there as $_) {
            $failover->submit($this->deadline());
            $waited[] = Bounds::START_S * $failover->share();
            self::assertTrue($failover->passOn(new TimedOut('the start', 30.0, 'node')));
        }

        self::assertSame([30.0, 15.0, 7.5, 3.75, 3.75, 3.75, 3.75, 3.75], $waited);
    }

    public function testANodeThatSaysItFailedTheJobShortensNothing(): void
    {
        $this->there = self::peers(2);
        $failover = $this->failover();
        $failover->submit($this->deadline());
        $failover->passOn(null);
        $failover->submit($this->deadline());

        self::assertSame(1.0, $failover->share());
    }

    public function testTheNodesThatMayBeBusyHaveTheirWholeTimeWhenTheJobReturns(): void
    {
        $this->there = self::peers(2);
        $failover = $this->failover();
        foreach ($this->there as $_) {
            $failover->submit($this->deadline());
            $failover->passOn(new TimedOut('the start', 30.0, 'node'));
        }
        self::assertSame(0.25, $failover->share());

        $returned = $failover->submit($this->deadline());

        self::assertContainsEquals($returned->peer, $this->there);
        self::assertSame(1.0, $failover->share());
    }

    public function testTheWaitForANodeRestartsAfterANodeHadTheJob(): void
    {
        $failover = $this->failover();
        [$first, $second, $third] = self::peers(3);
        foreach ([$first, $second, $third] as $number => $peer) {
            // Each but the first is found 6 s after all others were left: that is 12 s, more than the wall time.
            $this->appearAfter($number === 0 ? 0.0 : 6.0, $peer);
            self::assertEquals($peer, $failover->submit($this->deadline())->peer);
            $this->there = [];
            self::assertTrue($failover->passOn(new TimedOut('the start', 30.0, 'node')));
        }
    }

    public function testNobodyIsWaitedForLongerThanTheWallTimeAllows(): void
    {
        $failover = $this->failover();
        $this->there = self::peers(1);
        $failover->submit($this->deadline());
        $failover->passOn(new TimedOut('the start', 30.0, 'node'));
        $this->there = [];
        $began = $this->clock->now();
        try {
            $failover->submit($this->deadline());
            self::fail('somebody was found');
        } catch (TimedOut) {
            self::assertEqualsWithDelta(self::WALL_TIME_S, $this->clock->now() - $began, 1.5);
        }
    }

    private float $appearsAt = INF;
    private ?PeerId $appears = null;

    private function appearAfter(float $seconds, PeerId $peer): void
    {
        $this->appearsAt = $this->clock->now() + $seconds;
        $this->appears = $peer;
    }

    private function deadline(): Deadline
    {
        return new Deadline($this->clock, 3600.0, 'total');
    }

    private function failover(): Failover
    {
        $job = Submission::create("\0asm\1\0\0\0", ['wall_time' => self::WALL_TIME_S]);
        $find = function (array $avoid): PeerId {
            if ($this->appears !== null && $this->clock->now() >= $this->appearsAt) {
                $this->there[] = $this->appears;
                $this->appears = null;
            }
            foreach ($this->there as $peer) {
                if (!in_array($peer, $avoid)) {
                    return $peer;
                }
            }
            throw new NoNode('nobody is there');
        };
        $session = function (PeerId $peer): SessionInterface {
            $session = $this->createStub(SessionInterface::class);
            $session->method('peer')->willReturn($peer);
            $session->method('submit')->willReturn(new JobStatus(JobState::Queued));

            return $session;
        };
        $transport = $this->createStub(ChoosingTransportInterface::class);
        $transport->method('choose')->willReturnCallback(
            static fn (Submission $job, Deadline $deadline, array $avoid = []): SessionInterface => $session($find($avoid)),
        );

        return new Failover($transport, $job, [], new RetryPolicy(), $this->clock);
    }

    /** @return list<PeerId> */
    private static function peers(int $count): array
    {
        return array_map(
            static fn (int $number): PeerId => PeerId::fromPublicKey(str_repeat(chr($number), 32)),
            range(1, $count),
        );
    }
}
