<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\Cancelled;
use Plasm\Libp2p\Exception\ConnectFailed;
use Plasm\Libp2p\Exception\ConnectionClosed;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Io\Buffer;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Time\Deadline;

final class LoopTest extends TestCase
{
    public function testTasksThatEndedAndALoopThatNobodyHoldsAreFreed(): void
    {
        $loop = new Loop();
        $freed = [];
        for ($number = 0; $number < 3; $number++) {
            $task = $loop->spawn(static fn () => Loop::sleep(0.001));
            $freed[] = \WeakReference::create($task->fiber);
            while (!$task->done()) {
                $loop->park($loop->waiter(Deadline::after(0.01)));
            }
        }
        unset($task);
        $loop->poll(); // a task that was late is in the queue twice
        gc_collect_cycles();
        self::assertSame([null, null, null], array_map(static fn (\WeakReference $each) => $each->get(), $freed));

        $held = \WeakReference::create($loop);
        $loop->spawn(static fn () => Loop::sleep(60.0));
        $loop->poll();
        unset($loop);
        gc_collect_cycles();
        self::assertNull($held->get());
    }

    public function testTasksRunSideBySide(): void
    {
        $loop = new Loop();
        $signals = [new Signal($loop), new Signal($loop)];
        $log = [];
        /** @var TaskGroup<string> $group */
        $group = new TaskGroup($loop);
        $group->start('first', static function () use ($signals, &$log): string {
            $log[] = 'first waits';
            $signals[0]->wait(Deadline::after(5), 'the second');
            $log[] = 'first goes on';

            return 'done';
        });
        $group->start('second', static function () use ($signals, &$log): string {
            $log[] = 'second wakes the first';
            $signals[0]->notify();

            return 'done';
        });

        self::assertSame(['second', 'done', null], $group->next(Deadline::after(5), 'a task'));
        self::assertSame(['first', 'done', null], $group->next(Deadline::after(5), 'a task'));
        self::assertSame(['first waits', 'second wakes the first', 'first goes on'], $log);
        self::assertSame(0, $group->count());
    }

    public function testADeadlineEndsAWaitOutsideAndInsideATask(): void
    {
        $loop = new Loop();
        $never = new Signal($loop);
        /** @var TaskGroup<null> $group */
        $group = new TaskGroup($loop);
        $group->start('task', static fn () => $never->wait(Deadline::after(0.01), 'nothing'));
        [, , $error] = $group->next(Deadline::after(5), 'the task');

        self::assertInstanceOf(DeadlinePassed::class, $error);
        self::assertSame('nothing', $error->waitedFor);
        $this->expectExceptionObject(new DeadlinePassed('nothing either'));

        $never->wait(Deadline::after(0.01), 'nothing either');
    }

    public function testACancelledTaskCleansUpAndTheOthersGoOn(): void
    {
        $loop = new Loop();
        $never = new Signal($loop);
        $cleaned = false;
        $task = $loop->spawn(static function () use ($never, &$cleaned): void {
            try {
                $never->wait(Deadline::after(60), 'nothing');
            } finally {
                $cleaned = true;
            }
        });
        $unstarted = $loop->spawn(static fn () => self::fail('a cancelled task was started'));
        $unstarted->cancel();
        $this->turn($loop);
        $task->cancel();
        $this->turn($loop);

        self::assertTrue($cleaned);
        self::assertInstanceOf(Cancelled::class, $task->error());
        self::assertInstanceOf(Cancelled::class, $unstarted->error());
    }

    public function testAWakeUpThatComesTwiceEndsOnlyOneWait(): void
    {
        $loop = new Loop();
        $first = new Signal($loop);
        $second = new Signal($loop);
        /** @var TaskGroup<string> $group */
        $group = new TaskGroup($loop);
        $group->start('waiter', static function () use ($first, $second): string {
            $first->wait(Deadline::after(5), 'the first');
            $second->wait(Deadline::after(5), 'the second');

            return 'both';
        });
        $this->turn($loop);
        $first->notify();
        $first->notify();
        $this->turn($loop);
        $this->turn($loop);

        self::assertSame(1, $group->count());
        $second->notify();
        self::assertSame(['waiter', 'both', null], $group->next(Deadline::after(5), 'the waiter'));
    }

    public function testBytesComeOutOfTheBufferInOrder(): void
    {
        $buffer = new Buffer();
        $expected = '';
        $taken = '';
        mt_srand(3);
        for ($round = 0; $round < 2000; $round++) {
            $bytes = str_repeat(chr(mt_rand(0, 255)), mt_rand(0, 900));
            $buffer->append($bytes);
            $expected .= $bytes;
            $taken .= $buffer->take(mt_rand(1, 800));
            self::assertSame(strlen($expected) - strlen($taken), $buffer->length());
        }
        $taken .= $buffer->take(PHP_INT_MAX);

        self::assertSame($expected, $taken);
        self::assertSame('', $buffer->take(1));
    }

    public function testASocketCarriesMoreThanTheKernelHolds(): void
    {
        $loop = new Loop();
        [$left, $right] = $this->pair($loop);
        $sent = random_bytes(5_000_000);
        $loop->spawn(static fn () => $left->write($sent, Deadline::after(20)));
        $received = '';
        while (strlen($received) < strlen($sent)) {
            $received .= $right->read(100_000, Deadline::after(20));
        }

        self::assertSame(hash('sha256', $sent), hash('sha256', $received));
        $left->close();
        self::assertSame('', $right->read(1, Deadline::after(5)));
    }

    public function testAPeerThatTakesNothingDoesNotHoldAWriterForEver(): void
    {
        $loop = new Loop();
        [$left, $right] = $this->pair($loop);
        try {
            while (true) {
                $left->write(str_repeat('x', 65536), Deadline::after(0.05));
            }
        } catch (DeadlinePassed $exception) {
            self::assertSame('the peer to take what was sent', $exception->waitedFor);
        }
        self::assertNotSame('', $right->read(1, Deadline::after(5)));
    }

    public function testASendThatFailsInTheLoopEndsTheConnectionWithItsCause(): void
    {
        $loop = new Loop();
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertNotFalse($pair);
        $socket = new Socket($loop, $pair[0]);
        $called = 0;
        $socket->onReadable(static function () use (&$called): void {
            $called++;
        });
        $socket->post(str_repeat('x', 1024 * 1024)); // more than the kernel takes: the loop sends the rest
        $writer = $loop->spawn(static fn () => $socket->write('x', Deadline::after(5)));
        $loop->poll();
        stream_set_blocking($pair[1], false);
        self::assertNotSame('', stream_get_contents($pair[1])); // there is room to send again
        stream_socket_shutdown($pair[1], STREAM_SHUT_RD);
        while (!$writer->done()) {
            $loop->poll();
        }

        $cause = 'the connection ended while bytes were sent: broken pipe';
        self::assertSame($cause, $writer->error()?->getMessage());
        self::assertSame(1, $called);
        foreach ([static fn () => $socket->tryRead(10), static fn () => $socket->post('x')] as $use) {
            try {
                $use();
                self::fail('the socket is open');
            } catch (ConnectionClosed $exception) {
                self::assertSame($cause, $exception->getMessage());
            }
        }
    }

    public function testAClosedSocketSaysSo(): void
    {
        $loop = new Loop();
        [$left, $right] = $this->pair($loop);
        $loop->spawn(static fn () => $left->close());
        try {
            $left->read(1, Deadline::after(5));
            self::fail('read from a closed socket');
        } catch (ConnectionClosed) {
            self::assertSame('', $right->read(1, Deadline::after(5)));
        }
    }

    public function testARefusedConnection(): void
    {
        $server = stream_socket_server('tcp://127.0.0.1:0');
        self::assertNotFalse($server);
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($server, false), ':'), 1);
        fclose($server);
        $this->expectException(ConnectFailed::class);

        Socket::connect(new Loop(), '127.0.0.1', $port, Deadline::after(5));
    }

    private function turn(Loop $loop): void
    {
        $loop->spawn(static fn () => null);
        try {
            (new Signal($loop))->wait(Deadline::after(0.001), 'a turn');
        } catch (DeadlinePassed) {
            return;
        }
    }

    /** @return array{Socket, Socket} */
    private function pair(Loop $loop): array
    {
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        self::assertNotFalse($pair);

        return [new Socket($loop, $pair[0]), new Socket($loop, $pair[1])];
    }
}
