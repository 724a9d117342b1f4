<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\Unreachable;
use Plasm\Http\Api;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** Reaches the daemon behind a `plasm web`, over HTTP. */
final class HttpTransport implements TransportInterface
{
    private const MAX_NODE_BYTES = 2 << 20;

    private ?PeerId $known = null;
    private string $agent = 'plasm web';

    public function __construct(private readonly Api $api)
    {
    }

    /** Without a peer to find, the server is asked once who its daemon is. Each answer about a job is compared with that. */
    public function open(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        $peer ??= $this->known ??= $this->ask($deadline);

        return new HttpSession($this->api, $peer, $this->agent, $deadline);
    }

    public function discover(Deadline $deadline): array
    {
        $this->known = $this->ask($deadline);

        return [new Node($this->known, $this->agent, (string) $this->api->url)];
    }

    private function ask(Deadline $deadline): PeerId
    {
        $fields = $this->api->json('GET', '/v1/node', 'the server to name its daemon', $deadline, self::MAX_NODE_BYTES);
        $this->agent = 'plasm web ' . $fields->matching('version', '[!-~]{1,64}', 'a version');
        $peer = $fields->has('peerId') ? $fields->peer('peerId') : null;
        HttpSession::finish($fields);

        return $peer ?? throw new Unreachable(
            "the web server at {$this->api->url} reaches no daemon",
            'start one on its machine with: plasmd --detach',
        );
    }
}
