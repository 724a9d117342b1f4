<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Cache\CacheInterface;
use Plasm\Cache\MemoryCache;
use Plasm\Client;
use Plasm\Envelope;
use Plasm\Exception\BadSignature;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NoNode;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\UnknownJob;
use Plasm\Exception\UntrustedSigner;
use Plasm\Handle;
use Plasm\Libp2p\Connections;
use Plasm\Libp2p\Host;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Kademlia;
use Plasm\Libp2p\PeerInfo;
use Plasm\Outcome;
use Plasm\PeerId;
use Plasm\Remote\AddressPolicy;
use Plasm\Remote\Directory;
use Plasm\Remote\Inquiry;
use Plasm\Remote\NodeClass;
use Plasm\Remote\PeerBook;
use Plasm\RetryPolicy;
use Plasm\Testing\MockFiles;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Support\FakeNode;
use Plasm\Tests\Support\RemoteNode;
use Plasm\Timeouts;
use Plasm\Transport\RemoteTransport;
use Plasm\Transport\Session;

/** The client against nodes of every kind of malice, over real sockets. */
final class RemoteTransportTest extends TestCase
{
    private const MODULE = "\0asm\1\0\0\0 and more";

    /** A job in whose time no other node is looked for long, where there is none. */
    private const SHORT = ['wall_time' => 1];

    private Loop $loop;

    /** @var list<RemoteNode> */
    private array $nodes = [];

    /** What the DHT is: it names the others. */
    private RemoteNode $bootstrap;

    /** @var list<array{string, array<string, scalar>}> what the client told */
    private array $told = [];

    /** @var (\Closure(string): mixed)|null is called with each event that the client tells */
    private ?\Closure $onTold = null;
    private int $searches = 0;

    protected function setUp(): void
    {
        $this->loop = new Loop();
        $this->bootstrap = new RemoteNode($this->loop);
        $this->bootstrap->record = ['lends' => false];
    }

    protected function tearDown(): void
    {
        foreach ([$this->bootstrap, ...$this->nodes] as $node) {
            $node->host->close();
        }
    }

    public function testAJobIsGivenToTheNodeThatIsFound(): void
    {
        $node = $this->node();
        $node->jobs->stdout = str_repeat('output', 20_000);

        $result = $this->plasm()->run(self::MODULE, ['stdin' => random_bytes(300_000)]);

        self::assertSame($node->jobs->stdout, (string) $result);
        self::assertTrue($result->verdict->signer->equals($node->host->identity->peer));
        $events = array_column($this->told, 0);
        self::assertSame(['searching', 'found', 'connected', 'offered', 'sent', 'connected'], $events);
    }

    public function testTheNodeThatAnswersTheDhtIsTalkedToOverOneConnection(): void
    {
        $this->bootstrap->record = [];
        $this->bootstrap->providers = [$this->bootstrap->info()];

        $this->plasm()->run(self::MODULE);

        self::assertSame(1, $this->bootstrap->host->accepted);
    }

    public function testANodeThatKnowsNoOtherIsAskedItself(): void
    {
        $this->bootstrap->record = [];
        $handle = $this->plasm()->submit(self::MODULE);
        self::assertTrue($this->plasm()->result($handle)->verdict->signer->equals($this->bootstrap->host->identity->peer));
        self::assertCount(1, $this->plasm()->discover());

        $this->bootstrap->record = ['lends' => false];
        self::assertSame([], $this->plasm()->discover());
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage('it does not lend');
        $this->plasm()->run(self::MODULE);
    }

    public function testANodeThatIsAskedItselfMustBeOfTheClassToo(): void
    {
        $this->bootstrap->record = [];
        self::assertCount(1, $this->plasm(class: new NodeClass('engine/fake'))->discover());
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage('it is not of the class engine/wasm3');

        $this->plasm(class: new NodeClass('engine/wasm3'))->run(self::MODULE);
    }

    /**
     * @dataProvider unbelievable
     *
     * @param \Closure(RemoteNode): mixed $makeSo
     */
    #[DataProvider('unbelievable')]
    public function testANodeThatIsNotBelievedGetsNoJob(\Closure $makeSo, string $reason): void
    {
        $bad = $this->node();
        $makeSo($bad);
        $plasm = $this->plasm();
        try {
            $plasm->run(self::MODULE);
            self::fail('it was believed');
        } catch (NoNode $exception) {
            self::assertStringContainsString($reason, $exception->getMessage());
        }
        $good = $this->node();

        self::assertTrue($plasm->run(self::MODULE)->verdict->signer->equals($good->host->identity->peer));
        self::assertSame(0, $bad->conversations);
    }

    /** @return array<string, array{\Closure(RemoteNode): mixed, string}> */
    public static function unbelievable(): array
    {
        return [
            'forged record' => [static function (RemoteNode $node): void {
                $node->told = (string) preg_replace('/"sig":"..../', '"sig":"AAAA', $node->envelope());
            }, 'not signed by'],
            'expired record' => [static function (RemoteNode $node): void {
                $node->told = $node->envelope(-600);
            }, 'it expired at'],
            "another's record" => [static function (RemoteNode $node): void {
                $node->record = ['peer' => (string) Identity::ephemeral()->peer];
            }, 'not of'],
            'endless record' => [static function (RemoteNode $node): void {
                $node->told = str_repeat('x', 200_000);
            }, '200000 bytes long'],
            'garbage' => [static function (RemoteNode $node): void {
                $node->told = "\xff\0";
            }, 'not JSON'],
            'does not lend' => [static function (RemoteNode $node): void {
                $node->record = ['lends' => false];
            }, 'it does not lend'],
            'too small' => [static function (RemoteNode $node): void {
                $node->record = ['profiles' => ['other/v1']];
            }, 'profile plasm.det/v1'],
            'gone' => [static fn (RemoteNode $node) => $node->host->close(), 'refused or unreachable'],
        ];
    }

    public function testMissingFeaturesAreReportedBeforeDeadNodes(): void
    {
        for ($dead = 0; $dead < 7; $dead++) {
            $this->node()->host->close();
        }
        $this->node()->record = ['profiles' => ['other/v1']];
        $this->expectException(NoNode::class);
        $this->expectExceptionMessageMatches('/used: \S+: profile plasm\.det\/v1; .* and 4 more\z/');

        $this->plasm()->run(self::MODULE);
    }

    public function testANodeThatStallsWhenAskedIsNotWaitedForIfAnotherAnswers(): void
    {
        $this->node()->stalls = [Inquiry::PROTOCOL];
        $good = $this->node();

        $result = $this->plasm()->run(self::MODULE);

        self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
        self::assertNotContains('lost', array_column($this->told, 0), 'it was waited for until it was given up');
    }

    public function testANodeThatStallsAtTheJobIsPassedOver(): void
    {
        [$first, $second] = [$this->node(), $this->node()];
        $first->stalls = $second->stalls = [Session::PROTOCOL];
        $good = null;
        $this->record($first, 0);
        $this->record($second, 1);
        $good = $this->node();
        $this->record($good, 50);

        $result = $this->plasm(new Timeouts(connectS: 0.4))->run(self::MODULE);

        self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
        self::assertSame([1, 1], [$first->conversations, $second->conversations]);
    }

    /** As many as end a search answered at once and then stalled: no search waited for the next any more. */
    public function testANodeThatAnswersLateIsFoundOnceTheQuickOnesHaveFailed(): void
    {
        $quick = [$this->node(), $this->node(), $this->node(), $this->node()];
        foreach ($quick as $node) {
            $node->stalls = [Session::PROTOCOL];
        }
        $late = $this->node();
        $late->tellsAfterS = 0.8;

        $result = $this->plasm(new Timeouts(connectS: 0.4))->run(self::MODULE);

        self::assertTrue($result->verdict->signer->equals($late->host->identity->peer));
        self::assertSame([1, 1, 1, 1], array_map(static fn (RemoteNode $node): int => $node->conversations, $quick));
    }

    public function testANodeThatSaysNothingMoreWithAJobLosesIt(): void
    {
        $silent = $this->node();
        $good = $this->node();
        $this->record($good, 50);
        $silent->jobs->forge = static function (string $envelope) use ($silent): string {
            $silent->jobs->isSilent = true;

            return $envelope;
        };

        $result = $this->plasm(new Timeouts(connectS: 0.4, idleS: 0.4, patienceS: 0.3))->run(self::MODULE);

        self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
        self::assertCount(1, $silent->jobs->jobs);
    }

    public function testAJobThatANodeWasLeftWithIsWithdrawnOnceAnotherHasDoneIt(): void
    {
        $slow = $this->node();
        $good = $this->node();
        $this->record($good, 50);
        $slow->jobs->forge = static function (string $envelope) use ($slow): string {
            $slow->jobs->isSilent = true;

            return $envelope;
        };
        $good->jobs->forge = static function (string $envelope) use ($slow): string {
            $slow->jobs->isSilent = false;

            return $envelope;
        };

        $result = $this->plasm(new Timeouts(connectS: 0.4, idleS: 0.4, patienceS: 0.3))->run(self::MODULE);

        self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
        self::assertContains('cancel', array_column($slow->jobs->heard, 0));
        self::assertNotContains('cancel', array_column($good->jobs->heard, 0));
    }

    public function testANodeThatIsOnlyAliveIsPassedOver(): void
    {
        $alive = $this->node();
        $alive->isOnlyAlive = true;
        $plasm = $this->plasm(new Timeouts(idleS: 0.4, patienceS: 0.3));
        try {
            $plasm->run(self::MODULE, self::SHORT);
            self::fail('it did something');
        } catch (TimedOut $exception) {
            self::assertSame(["the node's offer", 'idle'], [$exception->waitedFor, $exception->limit]);
        }
        $this->record($good = $this->node(), 50);

        self::assertTrue($plasm->run(self::MODULE)->verdict->signer->equals($good->host->identity->peer));
    }

    public function testARefusingNodeIsPassedOverAndItsReasonIsReportedIfThereIsNoOther(): void
    {
        $refusing = $this->node();
        $refusing->jobs->refusals = [
            ['reason' => 'queue_full', 'message' => 'no place', 'retry_after_s' => 5],
            ['reason' => 'policy', 'message' => 'not for you'],
        ];
        $plasm = $this->plasm();
        try {
            $plasm->run(self::MODULE);
            self::fail('it was taken');
        } catch (Refused $exception) {
            self::assertSame('queue_full', $exception->reason);
        }
        $good = $this->node();
        $this->record($good, 50);

        self::assertTrue($plasm->run(self::MODULE)->verdict->signer->equals($good->host->identity->peer));
    }

    public function testANodeThatSpeaksNonsenseIsPassedOver(): void
    {
        $bad = $this->node();
        $bad->jobs->nonsense = "\xff\xff\xff\xff\0";
        $plasm = $this->plasm();
        try {
            $plasm->run(self::MODULE, self::SHORT);
            self::fail('it was understood');
        } catch (ProtocolError $exception) {
            self::assertStringContainsString('4294967295', $exception->getMessage());
        }
        $this->record($good = $this->node(), 50);

        self::assertTrue($plasm->run(self::MODULE)->verdict->signer->equals($good->host->identity->peer));
    }

    public function testANodesOwnFailureIsAResultOnlyIfAllFail(): void
    {
        $failing = $this->node();
        $failing->jobs->outcome = Outcome::systemError('no memory');
        $plasm = $this->plasm();

        self::assertSame('system_error', $plasm->run(self::MODULE, self::SHORT)->outcome->kind->value);
        $this->record($good = $this->node(), 50);
        self::assertTrue($plasm->run(self::MODULE)->verdict->signer->equals($good->host->identity->peer));
    }

    /**
     * @dataProvider ends
     * @param \Closure(FakeNode): mixed $lie
     */
    #[DataProvider('ends')]
    public function testAStrangersWordIsNotFinalWhileAnotherNodeMayBeFound(\Closure $lie): void
    {
        $lie($this->node()->jobs);
        $good = null;
        $this->onTold = function (string $what) use (&$good): void {
            if ($what === 'searching' && ++$this->searches === 3) {
                $good = $this->node();
            }
        };

        $result = $this->plasm()->run(self::MODULE, ['output' => 1024, 'wall_time' => 60]);

        self::assertNotNull($good);
        self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
    }

    /** @return array<string, array{\Closure(FakeNode): mixed}> */
    public static function ends(): array
    {
        return self::lies() + [
            'its own failure' => [static fn (FakeNode $node): mixed => $node->outcome = Outcome::systemError('no memory')],
        ];
    }

    /**
     * @dataProvider lies
     * @param \Closure(FakeNode): mixed $lie
     */
    #[DataProvider('lies')]
    public function testAFalseEndIsNotTheJobs(\Closure $lie): void
    {
        $liar = $this->node();
        $liar->jobs->stdout = 'what the job writes';
        $lie($liar->jobs);
        $this->record($good = $this->node(), 50);
        $good->jobs->stdout = 'what the job writes';
        $plasm = $this->plasm();

        foreach ([1, 2] as $_) {
            $result = $plasm->run(self::MODULE, ['output' => 1024, 'wall_time' => 60]);

            self::assertSame('what the job writes', (string) $result);
            self::assertTrue($result->verdict->signer->equals($good->host->identity->peer));
            self::assertStringContainsString('nobody but that node has run the job', (string) $result->verdict);
        }
        $asked = array_filter($liar->jobs->heard, static fn (array $heard): bool => $heard[0] === 'submit');
        self::assertCount(1, $asked, 'the liar is not asked again');
    }

    /** @return array<string, array{\Closure(FakeNode): mixed}> */
    public static function lies(): array
    {
        return [
            'cancelled, unasked' => [static fn (FakeNode $node): mixed => $node->outcome = Outcome::cancelled()],
            'timed out, at once' => [static fn (FakeNode $node): mixed => $node->outcome = Outcome::timedOut()],
            'no receipt' => [static fn (FakeNode $node): mixed => $node->forge = static fn (): string => '{}'],
            'another key' => [static fn (FakeNode $node): mixed => $node->behind = ReceiptSigner::withFreshKey()],
            'an altered signature' => [static fn (FakeNode $node): mixed => $node->forge = static fn (string $envelope)
                => (string) preg_replace('/"sig":"..../', '"sig":"AAAA', $envelope)],
            'more than it may write' => [static fn (FakeNode $node): mixed => $node->stdout = str_repeat('x', 100_000)],
        ];
    }

    public function testAReceiptByAnotherKeyIsRejected(): void
    {
        $this->node()->jobs->behind = ReceiptSigner::withFreshKey();
        $this->expectException(UntrustedSigner::class);

        $this->plasm()->run(self::MODULE, self::SHORT);
    }

    public function testAForgedReceiptIsRejected(): void
    {
        $this->node()->jobs->forge = static fn (string $envelope): string
            => (string) preg_replace('/"sig":"..../', '"sig":"AAAA', $envelope);
        $this->expectException(BadSignature::class);

        $this->plasm()->run(self::MODULE, self::SHORT);
    }

    public function testFilesThatANodeServesFalselyAreFetchedFromAnother(): void
    {
        foreach (['first', 'second'] as $number => $name) {
            $node = $this->node();
            $this->record($node, $number);
            $node->jobs->files = new MockFiles(['log' => 'said']);
        }
        [$liar, $honest] = $this->nodes;
        $liar->jobs->served = ['log' => ['file', 'lied']];

        $result = $this->plasm()->run(self::MODULE, ['files' => ['in' => random_bytes(300_000)], 'outputs' => ['log']]);

        self::assertSame('said', $result->files['log']->contents());
        self::assertTrue($result->receipt->node->equals($honest->host->identity->peer));
        self::assertSame(['submit', 'attach', 'fetch'], $liar->jobs->heardTypes());
    }

    public function testANodeThatServesNoFilesIsAnErrorIfThereIsNoOther(): void
    {
        $node = $this->node();
        $node->jobs->files = new MockFiles(['log' => 'said']);
        $node->jobs->unserved = ['log' => 'unknown_output'];
        $this->expectException(FilesNotServed::class);

        $this->plasm()->run(self::MODULE, ['outputs' => ['log']] + self::SHORT);
    }

    /**
     * @dataProvider withoutFiles
     *
     * @param array<string, mixed> $record
     */
    #[DataProvider('withoutFiles')]
    public function testANodeThatDoesNotGiveWhatFilesNeedGetsNoJobWithThem(array $record, string $lacking): void
    {
        $node = $this->node();
        $limits = json_decode(Envelope::fromJson($node->envelope())->payload, true)['limits'];
        $node->record = isset($record['limits']) ? ['limits' => $record['limits'] + $limits] : $record;
        $job = ['files' => ['in' => str_repeat('x', 2000)], 'outputs' => ['log']] + self::SHORT;

        try {
            $this->plasm()->run(self::MODULE, $job);
            self::fail('it was sent');
        } catch (NoNode $exception) {
            self::assertStringContainsString($lacking, $exception->getMessage());
        }
        self::assertSame(0, $node->conversations);
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function withoutFiles(): iterable
    {
        yield 'profile' => [['profiles' => ['plasm.det/v1']], 'profile plasm.det/v2'];
        yield 'engine' => [['engines' => [['name' => 'fake', 'version' => '1', 'features' => []]]], ': files'];
        yield 'tree' => [['limits' => ['tree_bytes' => 1000]], 'tree_bytes 2'];
        yield 'memory' => [['limits' => ['memory_bytes' => 600 << 20]], 'memory_bytes 738197504, of which it gives 629145600'];
    }

    public function testANodeThatIntroducesItselfAsAnotherIsPassedOver(): void
    {
        $node = $this->node();
        $json = '{"type":"hello","peer":"' . Identity::ephemeral()->peer . '","agent":"x"}';
        $node->jobs->hello = pack('NC', strlen($json) + 1, 0) . $json;
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage('the node that answers is');

        $this->plasm()->run(self::MODULE);
    }

    public function testAnAnswerUnderAnotherKeyIsNoNode(): void
    {
        $node = $this->node();
        $other = Identity::ephemeral()->peer;
        $this->bootstrap->providers = [new PeerInfo($other, [$node->host->address()->withPeer($other)])];
        $this->expectException(NoNode::class);
        $this->expectExceptionMessage("dialled $other, but {$node->host->identity->peer} answered");

        $this->plasm()->run(self::MODULE);
    }

    public function testAHandleWhoseNodeIsNotWhereItWasIsAMismatch(): void
    {
        $node = $this->node();
        $other = Identity::ephemeral()->peer;
        $this->bootstrap->providers = [new PeerInfo($other, [$node->host->address()->withPeer($other)])];
        $this->expectException(PeerMismatch::class);

        $this->plasm()->status((string) Handle::create(hash('sha256', ''), $other));
    }

    public function testTheNextClientRemembers(): void
    {
        $node = $this->node();
        $cache = new MemoryCache();
        $next = $this->plasm(cache: $cache);
        $handle = $this->plasm(cache: $cache)->submit(self::MODULE);
        $this->bootstrap->host->close();
        $this->told = [];

        self::assertTrue($next->result($handle)->ok());
        self::assertTrue($next->run(self::MODULE)->ok());
        self::assertNotContains('searching', array_column($this->told, 0));
        self::assertNotContains('locating', array_column($this->told, 0));
        self::assertSame(4, $node->conversations);
    }

    /** The node that was remembered was used for seven days, and no other could join. */
    public function testNodesThatHaveJoinedAreLookedForEveryFiveMinutes(): void
    {
        $cache = new MemoryCache();
        $this->record($old = $this->node(), 50);
        $signer = fn (): PeerId => $this->plasm(cache: $cache)->run(self::MODULE)->verdict->signer;
        self::assertTrue($signer()->equals($old->host->identity->peer));
        $new = $this->node();
        $this->told = [];
        self::assertTrue($signer()->equals($old->host->identity->peer));
        self::assertNotContains('searching', array_column($this->told, 0));

        $cache->delete('plasm_searched_' . substr(hash('sha256', 'test'), 0, 32)); // as after 300 s
        self::assertTrue($signer()->equals($new->host->identity->peer));
        self::assertContains('searching', array_column($this->told, 0));
        $this->told = [];
        self::assertTrue($signer()->equals($new->host->identity->peer));
        self::assertNotContains('searching', array_column($this->told, 0));
    }

    public function testAMissingDirectoryDoesNotKeepARememberedNodeFromAJob(): void
    {
        $cache = new MemoryCache();
        $node = $this->node();
        $this->plasm(cache: $cache)->run(self::MODULE);
        $next = $this->plasm(cache: $cache);
        $this->bootstrap->host->close();
        $cache->delete('plasm_searched_' . substr(hash('sha256', 'test'), 0, 32));

        $result = $next->run(self::MODULE);
        self::assertTrue($result->verdict->signer->equals($node->host->identity->peer));
    }

    public function testANodeThatMovedIsLookedUp(): void
    {
        $node = $this->node();
        $cache = new MemoryCache();
        $handle = Handle::parse($this->plasm(cache: $cache)->submit(self::MODULE));
        $moved = $this->node();
        $book = new PeerBook($cache, 'test');
        $book->remember(new PeerInfo($handle->peer, [$moved->host->address()->withPeer($handle->peer)]));

        self::assertTrue($this->plasm(cache: $cache)->result((string) $handle)->ok());
        self::assertContains('locating', array_column($this->told, 0));
        $addresses = (new PeerBook($cache, 'test'))->addresses($handle->peer);
        self::assertSame([(string) $node->host->address()], array_map(strval(...), $addresses));
    }

    public function testOthersHandlesOpenNothing(): void
    {
        $node = $this->node();
        $this->expectException(UnknownJob::class);

        $this->plasm()->status((string) Handle::create(hash('sha256', ''), $node->host->identity->peer));
    }

    public function testPrivateAddressesAreNotDialledUnlessAllowed(): void
    {
        $node = $this->node();
        try {
            $this->plasm(allowsPrivate: false)->run(self::MODULE);
            self::fail('it was dialled');
        } catch (NoNode $exception) {
            $others = str_replace((string) $this->bootstrap->host->identity->peer, 'bootstrap', $exception->getMessage());
            self::assertSame('no node was found that can be used: bootstrap: it does not lend', $others);
        }

        self::assertSame(0, $node->host->accepted);
    }

    public function testTheTotalDeadlineHolds(): void
    {
        $this->node()->stalls = [Inquiry::PROTOCOL];
        $this->node()->stalls = [Session::PROTOCOL];
        $began = microtime(true);
        try {
            $this->plasm()->run(self::MODULE, timeout: 1.0);
            self::fail('it ended');
        } catch (TimedOut $exception) {
            self::assertSame('total', $exception->limit);
        }

        self::assertLessThan(3.0, microtime(true) - $began);
    }

    /** @dataProvider options */
    #[DataProvider('options')]
    public function testOptionsThatCannotBeUsed(mixed $options, string $message): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage($message);

        new Client($options);
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function options(): array
    {
        $peer = '12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB';
        $remote = static fn (mixed ...$more): array
            => $more + ['mode' => 'remote', 'bootstrap' => "/ip4/192.0.2.1/tcp/4001/p2p/$peer"];

        return [
            'another mode' => [['mode' => 'moon'], 'mode: expected "local", "gateway", "http" or "remote"'],
            'an option of another mode' => [['bootstrap' => []], 'unknown option of mode local: bootstrap'],
            'a socket that is none' => [['mode' => 'gateway', 'socket' => 1], 'socket: expected a path'],
            'nowhere to begin' => [['mode' => 'remote'], 'bootstrap: expected addresses to begin at'],
            'no address' => [$remote(bootstrap: 'node.example'), 'bootstrap: a multiaddr starts with /'],
            'nobody there' => [$remote(bootstrap: '/ip4/192.0.2.1/tcp/1'), 'is not TCP to a named peer'],
            'no TCP' => [$remote(bootstrap: "/ip4/192.0.2.1/udp/1/quic-v1/p2p/$peer"), 'is not TCP to a named peer'],
            'no name' => [$remote(node_class: 'a b'), 'the class of nodes is a name'],
            'the class of nodes by its old name' => [$remote(capability: 'a'), 'capability is called node_class now'],
            'no number' => [$remote(allow_private: 1), 'allow_private: expected true or false'],
            'no cache' => [$remote(cache: 7), 'cache: expected a directory'],
            'no protocol' => [$remote(directory: 'kad'), 'directory: expected a protocol'],
            'nothing to call' => [$remote(watch: 7), 'watch: expected something to call'],
        ];
    }

    private function node(): RemoteNode
    {
        $this->nodes[] = $node = new RemoteNode($this->loop);
        $this->bootstrap->providers[] = $node->info();

        return $node;
    }

    /** Have a node say that jobs wait at it: it is chosen after those at which fewer do. */
    private function record(RemoteNode $node, int $waiting): void
    {
        $node->record = ['load' => ['running' => 0, 'waiting' => $waiting, 'capacity' => 100]];
    }

    private function plasm(
        ?Timeouts $timeouts = null,
        ?CacheInterface $cache = null,
        bool $allowsPrivate = true,
        NodeClass $class = new NodeClass(NodeClass::ANY_NODE),
    ): Client {
        $timeouts ??= new Timeouts();
        $host = new Host(loop: $this->loop);
        $policy = new AddressPolicy($allowsPrivate);
        $connections = new Connections($host);
        $kademlia = new Kademlia\Client(
            $host,
            [$this->bootstrap->host->address()],
            patienceS: 1.0,
            dialPrivate: true,
            connections: $connections,
        );
        $transport = new RemoteTransport(
            $host,
            new Directory($kademlia, $this->loop, $policy),
            $connections,
            new PeerBook($cache ?? new MemoryCache(), 'test'),
            publicOnly: !$allowsPrivate,
            class: $class,
            timeouts: $timeouts,
            watch: function (string $what, array $facts): void {
                $this->told[] = [$what, $facts];
                ($this->onTold ?? static fn (): mixed => null)($what);
            },
            bootstrap: $kademlia->bootstrap,
        );

        return new Client($transport, timeouts: $timeouts, retries: new RetryPolicy(3, 0.05));
    }
}
