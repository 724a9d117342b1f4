<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Client;
use Plasm\Exception\ConnectionLost;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\Unreachable;
use Plasm\Files\Fetching;
use Plasm\Files\FetchLimits;
use Plasm\Files\Product;
use Plasm\Handle;
use Plasm\Http\Api;
use Plasm\Http\BaseUrl;
use Plasm\PeerId;
use Plasm\RetryPolicy;
use Plasm\Tests\Support\WebAnswers;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Timeouts;
use Plasm\Transport\HttpSession;

/** Mode `http` against servers that answer in wrong ways. */
final class HttpTransportTest extends TestCase
{
    private const PEER = '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB';

    /**
     * @dataProvider answers
     *
     * @param class-string<\Throwable> $exception
     */
    #[DataProvider('answers')]
    public function testAWrongAnswerIsAnException(string $answer, string $exception, string $message): void
    {
        $this->expectException($exception);
        $this->expectExceptionMessage($message);

        $this->answered($answer, static fn (Client $plasm, string $handle): mixed => $plasm->status($handle));
    }

    /** @return iterable<string, array{string, class-string<\Throwable>, string}> */
    public static function answers(): iterable
    {
        $lost = ConnectionLost::class;
        $wrong = ProtocolError::class;
        yield 'nothing' => ['', $lost, 'closed the connection'];
        yield 'half a head' => ["HTTP/1.1 200 OK\r\nContent-", $lost, 'closed the connection'];
        yield 'half a body' => ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", $lost, 'ended its answer early'];
        yield 'no web server' => ["SSH-2.0-OpenSSH\r\n\r\n", $wrong, 'not HTTP'];
        yield 'a head without end' => ["HTTP/1.1 200 OK\r\nA: " . str_repeat('a', 64 << 10), $wrong, 'a head without end'];
        yield 'no header' => ["HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", $wrong, 'a header that is none'];
        yield 'interim answers' => [str_repeat("HTTP/1.1 103 Early\r\n\r\n", 20), $wrong, 'interim answers without end'];
        yield 'a wrong length' => ["HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", $wrong, 'no proper length'];
        yield 'a wrong chunk' => ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", $wrong, 'without its length'];
        yield 'a longer chunk' => ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", $wrong, 'longer than it says'];
        yield 'another coding' => ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", $wrong, 'sends its answer as gzip'];
        yield 'too much' => ["HTTP/1.1 200 OK\r\n\r\n" . str_repeat(' ', 300 << 10), $wrong, 'sends more than 262144 bytes'];
        yield 'no JSON' => [self::json(200, 'nonsense'), $wrong, 'cannot be read'];
        yield 'no job' => [self::json(200, '{}'), $wrong, 'cannot be used'];
        $elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        yield 'a redirect' => [$elsewhere, $wrong, 'redirects elsewhere'];
        yield 'a page of a proxy' => [self::json(502, '<html>'), $lost, 'status 502'];
        yield 'a page of another server' => [self::json(404, '<html>'), $wrong, 'no plasm web'];
        $refusal = self::json(403, '{"code":"forbidden","detail":"no\u001b[2J"}');
        yield 'a refusal' => [$refusal, Refused::class, 'refused (forbidden): no\x1b[2J'];
        yield 'no such job' => [self::json(404, '{"code":"not_found","detail":"none"}'), UnknownJob::class, 'none'];
        yield 'no daemon' => [self::json(503, '{"code":"node_unreachable","detail":"away"}'), Unreachable::class, 'away'];
    }

    public function testAServerThatSaysNothingIsGivenUp(): void
    {
        $this->expectException(TimedOut::class);
        $this->expectExceptionMessage('idle timeout');

        $this->answered('-', static fn (Client $plasm, string $handle): mixed => $plasm->status($handle));
    }

    public function testAnAnswerThatComesInPiecesIsRead(): void
    {
        $job = json_encode([
            'jobId' => str_repeat('0', 64), 'state' => 'QUEUED', 'attempt' => 0, 'position' => 3, 'stdoutBytes' => 0,
            'stderrBytes' => 0, 'node' => self::PEER,
        ]);
        $chunks = implode('', array_map(static fn (string $byte): string => "1\r\n$byte\r\n", str_split((string) $job)));

        $status = $this->answered(
            "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{$chunks}0\r\nTrailer: x\r\n\r\n",
            static fn (Client $plasm, string $handle): mixed => $plasm->status($handle),
        );

        self::assertSame(3, $status->position);
    }

    public function testOutputThatDoesNotFollowIsRefused(): void
    {
        $job = json_encode([
            'jobId' => str_repeat('0', 64), 'state' => 'RUNNING', 'attempt' => 1, 'stdoutBytes' => 2, 'stderrBytes' => 0,
            'node' => self::PEER,
        ]);
        $output = '{"stream":"stdout","attempt":1,"offset":1,"data":"aGk="}';
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage('output of stdout that does not follow');

        $this->answered(
            "HTTP/1.1 200 OK\r\n\r\nevent: status\ndata: $job\n\nevent: output\ndata: $output\n\n",
            static fn (Client $plasm, string $handle): mixed => $plasm->result($handle),
        );
    }

    /** @dataProvider parts */
    #[DataProvider('parts')]
    public function testAnAnswerThatIsNotTheRestOfAnOutputIsRefused(int $taken, string $answer, string $message): void
    {
        $server = new WebAnswers($answer);
        $clock = new SystemClock();
        $api = new Api(BaseUrl::parse($server->url), null, new Timeouts(idleS: 2.0), $clock);
        $session = new HttpSession($api, PeerId::parse(self::PEER), 'test', Deadline::after(10));
        $fetching = new Fetching(new Product('out', 'file', str_repeat('0', 64)), new FetchLimits(10, 100));
        $fetching->take(str_repeat('a', $taken));
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage($message);

        try {
            $session->fetch(str_repeat('0', 64), '', $fetching);
        } finally {
            $server->stop();
        }
    }

    /** @return iterable<string, array{int, string, string}> */
    public static function parts(): iterable
    {
        $head = static fn (string $rest): string => "HTTP/1.1 $rest\r\nPhase-Kind: file\r\n\r\n";
        $whole = $head("200 OK\r\nContent-Length: 4") . 'aaaa';
        yield 'all where the rest was asked for' => [3, $whole, 'another part'];
        yield 'another rest' => [3, $head("206 Partial\r\nContent-Length: 1\r\nContent-Range: bytes 3-3/4") . 'a', 'another part'];
        yield 'a rest of what was not begun' => [0, $head("206 Partial\r\nContent-Range: bytes 2-3/4") . 'aa', 'another part'];
        yield 'no length' => [0, $head('200 OK') . 'aaaa', 'does not say which bytes'];
        yield 'no range' => [3, $head("206 Partial\r\nContent-Length: 2"), 'does not say which bytes'];
        $more = 'sends more of an output than it said';
        yield 'more than its range' => [3, $head("206 Partial\r\nContent-Range: bytes 2-3/4") . 'aaaaaa', $more];
        $chunked = "200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked";
        yield 'more than its length' => [0, $head($chunked) . "8\r\naaaaaaaa\r\n0\r\n\r\n", $more];
        yield 'too much' => [0, $head("200 OK\r\nContent-Length: 101"), 'the job may leave at most 100'];
        $nine = static fn (string $rest): string => $head("206 Partial\r\n$rest") . 'aaaaaaaaa';
        yield 'more than the range' => [3, $nine("Content-Length: 9\r\nContent-Range: bytes 2-3/4"), 'more of an output than it said'];
        yield 'a range without an end' => [0, $nine('Content-Range: bytes 0-3/4'), 'more of an output than it said'];
        yield 'no kind' => [0, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\naaaa", 'the node has nothing'];
    }

    public function testTheTokenIsInNoDumpAndNoTrace(): void
    {
        ini_set('zend.exception_ignore_args', '0');
        $options = ['mode' => 'http', 'url' => 'https://jobs.example.org', 'token' => 'the-secret-token'];
        $plasm = new Client($options);
        try {
            new Client([...$options, 'url' => 'http://jobs.example.org']);
            self::fail('it was made');
        } catch (InvalidArgument $exception) {
            $frames = array_filter($exception->getTrace(), static fn (array $frame): bool
                => str_starts_with($frame['class'] ?? '', 'Plasm\\') && !str_contains($frame['class'] ?? '', 'Tests'));
        } finally {
            ini_restore('zend.exception_ignore_args');
        }

        self::assertNotSame([], array_column($frames, 'args'));
        self::assertStringNotContainsString('the-secret-token', print_r([$plasm, $frames], true) . var_export($plasm, true));
    }

    /** @dataProvider options */
    #[DataProvider('options')]
    public function testAWrongOptionIsNamed(string $option, mixed $value, string $message): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage($message);

        new Client(['mode' => 'http', 'url' => 'http://localhost:8750', $option => $value]);
    }

    /** @return iterable<string, array{string, mixed, string}> */
    public static function options(): iterable
    {
        yield 'no url' => ['url', null, 'url: expected the address'];
        yield 'another scheme' => ['url', 'ftp://localhost', 'url: expected the address'];
        yield 'a user in it' => ['url', 'http://me@localhost', 'url: expected the address'];
        yield 'a line end' => ['url', "http://localhost\r\nX: y", 'url: expected the address'];
        yield 'no port' => ['url', 'http://localhost:70000', 'there is no port 70000'];
        yield 'in the clear' => ['url', 'http://jobs.example.org', 'would go to jobs.example.org in the clear'];
        yield 'a name that only begins like loopback' => ['url', 'http://127.0.0.1.example.org', 'in the clear'];
        yield 'a token with a line end' => ['token', "a\r\nX: y", 'token: expected'];
        yield 'no file' => ['ca_file', '/nowhere', 'ca_file: expected'];
        yield 'an option of another mode' => ['socket', '/x', 'unknown option of mode http: socket'];
    }

    /** @param \Closure(Client, string): mixed $ask */
    private function answered(string $answer, \Closure $ask): mixed
    {
        $server = new WebAnswers($answer);
        $handle = (string) Handle::create(str_repeat('0', 64), PeerId::parse(self::PEER));
        try {
            $plasm = new Client(
                ['mode' => 'http', 'url' => $server->url, 'token' => 'secret'],
                timeouts: new Timeouts(idleS: 2.0),
                retries: RetryPolicy::never(),
            );

            return $ask($plasm, $handle);
        } finally {
            $server->stop();
        }
    }

    private static function json(int $status, string $body): string
    {
        return "HTTP/1.1 $status Word\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body";
    }
}
