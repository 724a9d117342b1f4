<?php

declare(strict_types=1);

namespace Plasm\Tests\Support;

use Plasm\Capabilities\CapabilityRecord;
use Plasm\Envelope;
use Plasm\Libp2p\Exception\DeadlinePassed;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Io\Framing;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Libp2p\Io\Socket;
use Plasm\Libp2p\Kademlia\Message;
use Plasm\Libp2p\PeerInfo;
use Plasm\Libp2p\Yamux\Stream;
use Plasm\Manifest;
use Plasm\Protocol\ClientMessage;
use Plasm\Protocol\Frame;
use Plasm\Record\Json;
use Plasm\Remote\Inquiry;
use Plasm\Testing\ReceiptSigner;
use Plasm\Tests\Libp2p\Support\Node;
use Plasm\Time\Deadline;
use Plasm\Transport\Session;

/** A node that lends, or pretends to: a `FakeNode` behind real TCP, Noise and yamux, on the test's own loop. */
final class RemoteNode
{
    public readonly FakeNode $jobs;
    public readonly Node $host;

    /** @var list<string> protocols that are accepted, and then not spoken */
    public array $stalls = [];

    /** Whether it says that it is alive, and nothing else, once it has introduced itself. */
    public bool $isOnlyAlive = false;

    /** How many seconds it takes to say what it can. */
    public float $tellsAfterS = 0.0;

    /** What is said in place of the signed capability record, with its length before it. */
    public ?string $told = null;

    /** @var list<PeerInfo> whom it names as providers of everything, as a server of the DHT */
    public array $providers = [];

    /** @var array<string, mixed> fields of the capability record that are not as usual */
    public array $record = [];

    public int $conversations = 0;

    public function __construct(private readonly Loop $loop, string $listen = '127.0.0.1')
    {
        $seed = random_bytes(32);
        $this->jobs = new FakeNode(signer: ReceiptSigner::fromSeed($seed));
        $this->secret = sodium_crypto_sign_secretkey(sodium_crypto_sign_seed_keypair($seed));
        $protocols = [
            Inquiry::PROTOCOL => $this->tell(...),
            Session::PROTOCOL => $this->serve(...),
            '/phase/kad/1.0.0' => $this->answer(...),
        ];
        $script = static fn (Socket $socket, Node $node): mixed => $node->serve($node->upgrade($socket), $protocols);
        $this->host = new Node($loop, $script, Identity::fromSeed($seed), $listen);
    }

    private readonly string $secret;

    public function info(): PeerInfo
    {
        return $this->host->info();
    }

    /** Return the record as it is told: signed, in its envelope. */
    public function envelope(int $expiresInS = 1800): string
    {
        $time = static fn (int $offsetS): string => gmdate('Y-m-d\TH:i:s\Z', time() + $offsetS);
        $record = [
            'format' => CapabilityRecord::FORMAT,
            'peer' => (string) $this->host->identity->peer,
            'agent' => 'fake/1',
            'profiles' => [Manifest::PROFILE, Manifest::PROFILE_V2],
            'gas_schedules' => ['plasm.gas/v1', 'plasm.gas/v2'],
            'wasi' => ['preview1'],
            'engines' => [['name' => 'fake', 'version' => '1', 'features' => ['files']]],
            'architecture' => 'x86_64',
            'cpu' => 1,
            'memory_bytes' => 1 << 32,
            'limits' => [
                'gas' => 10 ** 15,
                'memory_bytes' => 1 << 32,
                'output_bytes' => 1 << 32,
                'wall_time_s' => 3600,
                'cpu' => 1,
                'module_bytes' => 1 << 30,
                'stdin_bytes' => 1 << 30,
                'tree_bytes' => 1 << 30,
            ],
            'capabilities' => [],
            'lends' => true,
            'load' => ['running' => 0, 'waiting' => 0, 'capacity' => 1],
            'protocols' => [],
            'addresses' => [],
            'issued_at' => $time(-1800),
            'expires_at' => $time($expiresInS),
        ];

        return Envelope::sign(Json::encode($this->record + $record), CapabilityRecord::TYPE, $this->secret)->toJson();
    }

    private function tell(Stream $stream, Deadline $deadline): void
    {
        if ($this->isStalling(Inquiry::PROTOCOL)) {
            return;
        }
        if ($this->tellsAfterS > 0.0) {
            try {
                (new Signal($this->loop))->wait($deadline->within($this->tellsAfterS), 'its time');
            } catch (DeadlinePassed) {
                // It has come.
            }
        }
        $said = $this->told ?? $this->envelope();
        $stream->write(pack('N', strlen($said)) . $said, $deadline);
        $stream->closeWrite();
    }

    private function answer(Stream $stream, Deadline $deadline): void
    {
        $request = Message::decode(Framing::readMessage($stream, 1 << 16, $deadline));
        $answer = new Message($request->type, $request->key, providers: $this->providers);
        $stream->write(Framing::frame($answer->encode()), $deadline);
        $stream->closeWrite();
    }

    private function serve(Stream $stream, Deadline $deadline): void
    {
        $this->conversations++;
        if ($this->isStalling(Session::PROTOCOL)) {
            return;
        }
        $conversation = new FakeConversation($this->jobs);
        $stream->write($conversation->greet(), $deadline);
        while ($this->isOnlyAlive) {
            $stream->write(Frame::control(ClientMessage::heartbeat()), $deadline);
            $this->pause(0.05);
        }
        while (!$conversation->isOver() && ($bytes = $stream->read(65_536, $deadline)) !== '') {
            $stream->write($conversation->hear($bytes), $deadline);
        }
        $stream->closeWrite();
    }

    private function pause(float $seconds): void
    {
        try {
            (new Signal($this->loop))->wait(Deadline::after($seconds), 'nothing');
        } catch (DeadlinePassed) {
            // As was to be.
        }
    }

    private function isStalling(string $protocol): bool
    {
        return in_array($protocol, $this->stalls, true);
    }
}
