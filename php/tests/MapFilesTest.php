<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Exception\ConnectionLost;
use Plasm\Files\MapFiles;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Submission;
use Plasm\Time\Deadline;

/** Files that the jobs of a map share are brought to a node by one of them. */
final class MapFilesTest extends TestCase
{
    private Loop $loop;

    /** How many jobs are about to bring the files, and how many were at most. */
    private int $bringing = 0;
    private int $most = 0;
    private int $jobs = 0;

    protected function setUp(): void
    {
        $this->loop = new Loop();
    }

    public function testTheOthersBeginWhenTheFirstIsAccepted(): void
    {
        $ended = $this->begin(['files' => ['data' => str_repeat('x', 300_000)]], failures: 0);

        self::assertSame(array_fill(0, 6, null), $ended);
        self::assertSame([1, 6], [$this->most, $this->jobs]);
    }

    public function testIfTheFirstNodeFailsAnotherSendsTheFiles(): void
    {
        $ended = $this->begin(['files' => ['data' => str_repeat('x', 300_000)]], failures: 2);

        self::assertCount(2, array_filter($ended));
        self::assertSame([1, 6], [$this->most, $this->jobs]);
    }

    public function testFilesThatAreSentFasterThanProvedAreNotWaitedFor(): void
    {
        $this->begin(['files' => ['data' => 'few']], failures: 0);

        self::assertSame(6, $this->most);
    }

    public function testJobsWithoutFilesAreNotWaitedFor(): void
    {
        $this->begin([], failures: 0);

        self::assertSame(6, $this->most);
    }

    /**
     * Run six jobs beside one another, of which the first fail before a node has accepted them.
     *
     * @param array<string, mixed> $options
     *
     * @return list<\Throwable|null> what each of them threw
     */
    private function begin(array $options, int $failures): array
    {
        $files = new MapFiles($options, $this->loop);
        $tasks = new TaskGroup($this->loop);
        $areThere = false;
        for ($number = 0; $number < 6; ++$number) {
            $tasks->start((string) $number, function () use ($files, &$areThere, &$failures): void {
                $pack = Submission::create("\0asm", $files->with(['stdin' => 'input']))->files;
                $files->after($pack, function (\Closure $accepted) use (&$areThere, &$failures): void {
                    ++$this->jobs;
                    if (!$areThere) {
                        $this->most = max($this->most, ++$this->bringing);
                        $this->pause();
                        --$this->bringing;
                        if ($failures-- > 0) {
                            throw new ConnectionLost('it broke off');
                        }
                        $areThere = true;
                    }
                    $accepted();
                    $this->pause();
                });
            });
        }
        $ended = [];
        while ($tasks->count() > 0) {
            $ended[] = $tasks->next(Deadline::after(30), 'a job to end')[2];
        }

        return $ended;
    }

    private function pause(): void
    {
        try {
            (new Signal($this->loop))->wait(Deadline::after(0.02), 'nothing');
        } catch (DeadlinePassed) {
            // As was to be.
        }
    }
}
