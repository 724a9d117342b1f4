<?php

declare(strict_types=1);

namespace Plasm\Libp2p\Kademlia;

use Plasm\Exception\InvalidRecord;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Exception\ProtocolViolation;
use Plasm\Libp2p\Multiaddr;
use Plasm\Libp2p\PeerInfo;
use Plasm\Libp2p\Protobuf;
use Plasm\PeerId;

/**
 * A request, or the part of an answer that a client needs.
 *
 * Source: libp2p specification, kad-dht, "RPC messages". Peers and addresses of a kind that this client does
 * not know are left out; so is all that goes over a limit.
 */
final readonly class Message
{
    private const MAX_PEERS = 40;
    private const MAX_ADDRESSES = 16;

    private const TYPE = 1;
    private const KEY = 2;
    private const CLOSER_PEERS = 8;
    private const PROVIDERS = 9;
    private const PEER_ID = 1;
    private const PEER_ADDRESS = 2;

    /**
     * @param list<PeerInfo> $closer peers closer to the key
     * @param list<PeerInfo> $providers
     */
    public function __construct(
        public MessageType $type,
        public string $key = '',
        public array $closer = [],
        public array $providers = [],
    ) {
    }

    public function encode(): string
    {
        $bytes = Protobuf::number(self::TYPE, $this->type->value) . Protobuf::bytes(self::KEY, $this->key);
        foreach ([self::CLOSER_PEERS => $this->closer, self::PROVIDERS => $this->providers] as $field => $peers) {
            foreach ($peers as $info) {
                $bytes .= Protobuf::bytes($field, self::encodePeer($info));
            }
        }

        return $bytes;
    }

    /** @throws ProtocolViolation */
    public static function decode(string $bytes): self
    {
        $type = null;
        $key = '';
        $peers = [self::CLOSER_PEERS => [], self::PROVIDERS => []];
        foreach (Protobuf::read($bytes) as [$field, $value]) {
            if ($field === self::TYPE && is_int($value)) {
                $type = MessageType::tryFrom($value);
            } elseif ($field === self::KEY && is_string($value)) {
                $key = $value;
            } elseif (isset($peers[$field]) && is_string($value) && count($peers[$field]) < self::MAX_PEERS) {
                $info = self::decodePeer($value);
                if ($info !== null) {
                    $peers[$field][] = $info;
                }
            }
        }
        if ($type === null) {
            throw new ProtocolViolation('a message of Kademlia is of an unknown type');
        }

        return new self($type, $key, $peers[self::CLOSER_PEERS], $peers[self::PROVIDERS]);
    }

    private static function encodePeer(PeerInfo $info): string
    {
        $bytes = Protobuf::bytes(self::PEER_ID, $info->peer->multihash());
        foreach ($info->addresses as $address) {
            $bytes .= Protobuf::bytes(self::PEER_ADDRESS, $address->toBytes());
        }

        return $bytes;
    }

    /** @return PeerInfo|null null if the peer has no Ed25519 key */
    private static function decodePeer(string $bytes): ?PeerInfo
    {
        $peer = null;
        $texts = [];
        foreach (Protobuf::read($bytes) as [$field, $value]) {
            if ($field === self::PEER_ID && is_string($value)) {
                try {
                    $peer = PeerId::fromMultihash($value);
                } catch (InvalidRecord) {
                    return null;
                }
            } elseif ($field === self::PEER_ADDRESS && is_string($value) && count($texts) < self::MAX_ADDRESSES) {
                $texts[] = $value;
            }
        }

        return $peer === null ? null : new PeerInfo($peer, self::addresses($peer, $texts));
    }

    /**
     * @param list<string> $texts
     *
     * @return list<Multiaddr>
     */
    private static function addresses(PeerId $peer, array $texts): array
    {
        $addresses = [];
        foreach ($texts as $text) {
            try {
                $address = Multiaddr::fromBytes($text)->withPeer($peer);
                $addresses[(string) $address] = $address;
            } catch (InvalidMultiaddr) {
                // Peers list addresses of every transport they have.
            }
        }

        return array_values($addresses);
    }
}
