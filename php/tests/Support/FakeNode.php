<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Outcome;
use Plasm\PeerId;
use Plasm\Testing\MockFiles;
use Plasm\Testing\ReceiptSigner;
use Plasm\Time\Deadline;
use Plasm\Timeouts;
use Plasm\Transport\Session;
use Plasm\Transport\SessionInterface;
use Plasm\Transport\TransportInterface;

/** A node that speaks docs/protocol.md and runs nothing: it answers with what it is told to. */
final class FakeNode implements TransportInterface
{
    public readonly ReceiptSigner $signer;

    /** @var array<string, FakeJob> by job id and token */
    public array $jobs = [];

    /** @var list<array{string, array<string, mixed>}> each message of a client: type and fields */
    public array $heard = [];

    /** @var list<string> modules, by digest, that need not be sent */
    public array $modules = [];

    /** @var list<string> packs of files that need not be sent */
    public array $packs = [];

    /** @var list<string>|null what its hello says that it can do; null if it does not say */
    public ?array $features = ['files'];

    /** What jobs leave of their outputs. */
    public MockFiles $files;

    /** @var array<string, array{string, string}> what is served in place of an output: kind and bytes, by path */
    public array $served = [];

    /** @var (\Closure(): string)|null frames that are sent behind `contents`, in place of the bytes */
    public ?\Closure $serving = null;

    /** @var array<string, string> refusals of a fetch: reasons by path */
    public array $unserved = [];

    /** Break the stream once, after so many bytes of what is fetched. */
    public ?int $breakFetchAt = null;

    public string $stdout = '';
    public string $stderr = '';
    public int $exitCode = 0;

    /** How jobs end; null for their exit code. */
    public ?Outcome $outcome = null;
    public int $windowBytes = 65_536;

    /** Give credit for uploads behind the answer to a proof, in one piece with it, and none before. */
    public bool $isCreditLate = false;

    /** Break the stream once, after so many uploaded bytes. */
    public ?int $breakUploadAt = null;

    /** Break the stream once, after so many bytes of output. */
    public ?int $breakOutputAt = null;

    /** Start the job again once, after so many bytes of output. */
    public ?int $restartAt = null;

    /** End the job as cancelled, without output, after so many bytes of it. */
    public ?int $withdrawAt = null;

    /** Have the receipts signed by this one, and tell so, as a gateway does. */
    public ?ReceiptSigner $behind = null;

    /** @var list<array<string, mixed>> refusals of what is asked next, in their order */
    public array $refusals = [];

    /** @var (\Closure(string, FakeJob): string)|null changes the envelope */
    public ?\Closure $forge = null;

    /** What is said in place of each answer: raw bytes. */
    public ?string $nonsense = null;
    public bool $isSilent = false;

    /** Whether its carrier proves who it is, as libp2p does. */
    public bool $isProven = false;
    public ?string $hello = null;
    public int $conversations = 0;

    public function __construct(public readonly FakeClock $clock = new FakeClock(), ?ReceiptSigner $signer = null)
    {
        $this->files = new MockFiles([]);
        $this->signer = $signer ?? ReceiptSigner::withFreshKey();
    }

    public function open(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        ++$this->conversations;
        $stream = new FakeStream(new FakeConversation($this), $this->clock);

        return Session::open($stream, $peer, $deadline, new Timeouts(), $this->clock);
    }

    public function discover(Deadline $deadline): array
    {
        return [];
    }

    /** @return list<string> the types of the messages that were heard */
    public function heardTypes(): array
    {
        return array_column($this->heard, 0);
    }
}
