<?php

declare(strict_types=1);

namespace Plasm\Tests\Libp2p;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Libp2p\Exception\DecryptionFailed;
use Plasm\Libp2p\Exception\HandshakeFailed;
use Plasm\Libp2p\Identity;
use Plasm\Libp2p\Noise\CipherState;
use Plasm\Libp2p\Noise\HandshakePayload;
use Plasm\Libp2p\Noise\HandshakeState;
use Plasm\Libp2p\Noise\SymmetricState;
use Plasm\Libp2p\Protobuf;
use Plasm\Tests\Vectors;

final class NoiseTest extends TestCase
{
    public function testHkdf(): void
    {
        foreach (self::vectors('hkdf')['valid'] as $vector) {
            $keys = SymmetricState::hkdf(sodium_hex2bin($vector['salt_hex']), sodium_hex2bin($vector['secret_hex']));

            self::assertSame($vector['output_hex'], bin2hex(implode('', $keys)));
        }
    }

    public function testX25519(): void
    {
        foreach (self::vectors('x25519')['valid'] as $vector) {
            $shared = sodium_crypto_scalarmult(sodium_hex2bin($vector['scalar_hex']), sodium_hex2bin($vector['point_hex']));

            self::assertSame($vector['output_hex'], bin2hex($shared));
        }
    }

    public function testChaChaPoly(): void
    {
        foreach (self::vectors('chachapoly')['valid'] as $vector) {
            [$key, $associated, $plaintext, $ciphertext] = array_map(
                static fn (string $name): string => sodium_hex2bin($vector[$name]),
                ['key_hex', 'associated_hex', 'plaintext_hex', 'ciphertext_hex'],
            );
            $counter = (int) $vector['counter'];

            self::assertSame(bin2hex($ciphertext), bin2hex((new CipherState($key, $counter))->encrypt($associated, $plaintext)));
            self::assertSame($plaintext, (new CipherState($key, $counter))->decrypt($associated, $ciphertext));
        }
    }

    public function testACounterIsNeverUsedTwice(): void
    {
        $cipher = new CipherState(str_repeat('k', 32), PHP_INT_MAX - 1);
        $cipher->encrypt('', 'last');
        $this->expectException(\OverflowException::class);

        $cipher->encrypt('', 'one too many');
    }

    public function testTheHandshakeAndWhatFollowsAreThePublishedOnes(): void
    {
        $vector = self::vectors('noise_xx');
        [$initiator, $responder] = self::parties();
        [$sender, $receiver] = [$initiator, $responder];
        foreach (array_slice($vector['messages'], 0, 3) as $message) {
            $wire = $sender->writeMessage(sodium_hex2bin($message['payload_hex']));
            self::assertSame($message['ciphertext_hex'], bin2hex($wire));
            self::assertSame($message['payload_hex'], bin2hex($receiver->readMessage($wire)));
            [$sender, $receiver] = [$receiver, $sender];
        }
        self::assertSame($vector['handshake_hash'], bin2hex($initiator->handshakeHash()));
        self::assertSame($vector['handshake_hash'], bin2hex($responder->handshakeHash()));
        $ciphers = ['initiator' => $initiator->split(), 'responder' => $responder->split()];
        foreach (array_slice($vector['messages'], 3) as $number => $message) {
            $names = $number % 2 === 0 ? ['responder', 'initiator'] : ['initiator', 'responder'];
            $wire = $ciphers[$names[0]][0]->encrypt('', sodium_hex2bin($message['payload_hex']));
            self::assertSame($message['ciphertext_hex'], bin2hex($wire));
            self::assertSame($message['payload_hex'], bin2hex($ciphers[$names[1]][1]->decrypt('', $wire)));
        }
    }

    public function testAHandshakeMessageThatIsCutOffAnywhereIsRefused(): void
    {
        [$initiator, $responder] = self::parties();
        $responder->readMessage($initiator->writeMessage(''));
        $message = $responder->writeMessage('payload');
        $refused = 0;
        for ($length = 0; $length < strlen($message); $length++) {
            $refused += self::refuses(substr($message, 0, $length));
        }

        self::assertSame(strlen($message), $refused);
    }

    public function testAHandshakeMessageWithAnyBitTurnedIsRefused(): void
    {
        [$initiator, $responder] = self::parties();
        $responder->readMessage($initiator->writeMessage(''));
        $message = $responder->writeMessage('payload');
        for ($bit = 0; $bit < 8 * strlen($message); $bit++) {
            if ($bit === 255) {
                continue; // RFC 7748: the highest bit of a public key is masked; the hash of the handshake still covers it.
            }
            $tampered = $message;
            $tampered[$bit >> 3] = chr(ord($tampered[$bit >> 3]) ^ 1 << $bit % 8);
            self::assertSame(1, self::refuses($tampered), "bit $bit");
        }
        $tampered = $message;
        $tampered[31] = chr(ord($tampered[31]) ^ 0x80);
        self::assertSame(1, self::refuses($tampered));
    }

    public function testAKeyOfLowOrderIsRefused(): void
    {
        foreach (self::vectors('x25519')['low_order_hex'] as $hex) {
            [, $responder] = self::parties();
            $responder->readMessage(sodium_hex2bin($hex));
            try {
                $responder->writeMessage('');
                self::fail('a key of low order was taken');
            } catch (HandshakeFailed $exception) {
                self::assertStringContainsString('handshake', $exception->getMessage());
            }
        }
    }

    public function testATransportMessageThatWasTamperedWithOrSentTwiceIsRefused(): void
    {
        $sending = new CipherState(str_repeat('k', 32));
        $wire = $sending->encrypt('', 'hello');
        $receiving = new CipherState(str_repeat('k', 32));
        $receiving->decrypt('', $wire);
        $this->expectException(DecryptionFailed::class);

        $receiving->decrypt('', $wire);
    }

    public function testThePayloadBindsTheNoiseKeyToThePeer(): void
    {
        $vector = self::vectors('handshake_payload');
        $identity = Identity::fromSeed(sodium_hex2bin($vector['seed_hex']));
        $static = sodium_hex2bin($vector['static_public_hex']);

        self::assertSame($vector['payload_hex'], bin2hex(HandshakePayload::sign($identity, $static)));
        self::assertSame($vector['peer_id'], (string) HandshakePayload::verify(sodium_hex2bin($vector['payload_hex']), $static));
        self::assertStringNotContainsString('secret', print_r($identity, true));
    }

    /** @dataProvider wrongPayloads */
    #[DataProvider('wrongPayloads')]
    public function testAPayloadThatProvesNothingIsRefused(string $payload, string $static): void
    {
        $this->expectException(HandshakeFailed::class);

        HandshakePayload::verify($payload, $static);
    }

    /** @return array<string, array{string, string}> */
    public static function wrongPayloads(): array
    {
        $vector = self::vectors('handshake_payload');
        $static = sodium_hex2bin($vector['static_public_hex']);
        $payload = sodium_hex2bin($vector['payload_hex']);
        $identity = Identity::fromSeed(str_repeat('i', 32));
        $signature = $identity->sign("noise-libp2p-static-key:$static");
        $key = static fn (int $type, string $data): string =>
            Protobuf::bytes(1, Protobuf::number(1, $type) . Protobuf::bytes(2, $data));
        $public = $identity->peer->publicKey;

        return [
            'for another Noise key' => [$payload, strrev($static)],
            'empty' => ['', $static],
            'garbage' => [random_bytes(100), $static],
            'without a key' => [Protobuf::bytes(2, $signature), $static],
            'without a signature' => [$key(1, $public), $static],
            'of another kind of key' => [$key(2, $public) . Protobuf::bytes(2, $signature), $static],
            'with a short key' => [$key(1, substr($public, 1)) . Protobuf::bytes(2, $signature), $static],
            'with a short signature' => [$key(1, $public) . Protobuf::bytes(2, substr($signature, 1)), $static],
            'with two keys' => [$key(1, $public) . $key(1, strrev($public)) . Protobuf::bytes(2, $signature), $static],
            'signed without the domain' => [$key(1, $public) . Protobuf::bytes(2, $identity->sign($static)), $static],
        ];
    }

    public function testTheSidesTakeTurns(): void
    {
        [$initiator] = self::parties();
        $this->expectException(\LogicException::class);

        $initiator->readMessage('');
    }

    /** @return array{HandshakeState, HandshakeState} */
    private static function parties(): array
    {
        $vector = self::vectors('noise_xx');
        $bytes = static fn (string $name): string => sodium_hex2bin($vector[$name]);

        return [
            new HandshakeState(true, $bytes('init_static_hex'), $bytes('prologue_hex'), $bytes('init_ephemeral_hex')),
            new HandshakeState(false, $bytes('resp_static_hex'), $bytes('prologue_hex'), $bytes('resp_ephemeral_hex')),
        ];
    }

    private static function refuses(string $message): int
    {
        [$initiator] = self::parties();
        $initiator->writeMessage('');
        try {
            $initiator->readMessage($message);

            return 0;
        } catch (HandshakeFailed) {
            return 1;
        }
    }

    /** @return array<string, mixed> */
    private static function vectors(string $name): array
    {
        return Vectors::load('libp2p')[$name];
    }
}
