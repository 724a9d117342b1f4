<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Record\Base64;
use Plasm\Record\Ed25519;
use Plasm\Record\Fields;
use Plasm\Record\Json;

/**
 * A payload with its signatures (DSSE 1.0.2).
 *
 * The signatures cover the payload's bytes as sent. Nothing is re-encoded for verification.
 */
final readonly class Envelope
{
    public const RECEIPT_TYPE = 'application/vnd.in-toto+json';

    private const MAX_BYTES = 1 << 20;
    private const MAX_SIGNATURES = 64;
    private const TEXT = '(?s:.{0,1024})';

    /** @param non-empty-list<Signature> $signatures */
    private function __construct(public string $payload, public string $payloadType, public array $signatures)
    {
    }

    /**
     * Parse an envelope. Unknown fields are ignored.
     *
     * @throws InvalidRecord
     */
    public static function fromJson(string $json): self
    {
        $fields = Fields::decode($json, 'envelope', self::MAX_BYTES);
        $envelope = self::fromFields($fields);
        $fields->finish();
        assert($envelope !== null);

        return $envelope;
    }

    /** Read an envelope, noting problems in `$fields`; null if there is none. */
    public static function fromFields(Fields $fields): ?self
    {
        $payload = Base64::field($fields, 'payload');
        $payloadType = $fields->matching('payloadType', self::TEXT, 'a string of at most 1024 characters');
        $signatures = [];
        foreach ($fields->objects('signatures') as $item) {
            $signatures[] = new Signature(
                $item->isThere('keyid') ? $item->matching('keyid', self::TEXT, 'a string of at most 1024 characters') : '',
                Base64::field($item, 'sig'),
            );
        }
        if ($signatures === [] || count($signatures) > self::MAX_SIGNATURES) {
            $fields->problem('signatures', 'expected a list of 1 to ' . self::MAX_SIGNATURES . ' signatures');
        }

        return $signatures === [] ? null : new self($payload, $payloadType, $signatures);
    }

    /** Return a copy with the signatures of one key only; null if that key has not signed. */
    public function signedOnlyBy(PeerId $peer): ?self
    {
        foreach ($this->signatures as $signature) {
            $alone = new self($this->payload, $this->payloadType, [$signature]);
            if ($alone->isSignedBy($peer)) {
                return $alone;
            }
        }

        return null;
    }

    /** Sign a payload with an Ed25519 secret key in sodium's form (64 bytes). */
    public static function sign(string $payload, string $payloadType, #[\SensitiveParameter] string $secretKey): self
    {
        assert($secretKey !== '');
        $signature = sodium_crypto_sign_detached(self::pae($payloadType, $payload), $secretKey);
        $keyId = self::keyId(sodium_crypto_sign_publickey_from_secretkey($secretKey));

        return new self($payload, $payloadType, [new Signature($keyId, $signature)]);
    }

    /** Return the Pre-Authentication Encoding of a payload: the bytes that are signed. */
    public static function pae(string $payloadType, string $payload): string
    {
        return sprintf('DSSEv1 %d %s %d ', strlen($payloadType), $payloadType, strlen($payload)) . $payload;
    }

    /** Return the keyid of an Ed25519 public key, as securesystemslib computes it. A hint, never trust. */
    public static function keyId(string $publicKey): string
    {
        $key = sodium_bin2hex($publicKey);

        return Digest::of("{\"keytype\":\"ed25519\",\"keyval\":{\"public\":\"$key\"},\"scheme\":\"ed25519\"}");
    }

    /** Tell whether one of the signatures is the peer's. */
    public function isSignedBy(PeerId $peer): bool
    {
        $signed = self::pae($this->payloadType, $this->payload);
        foreach ($this->signatures as $signature) {
            if (Ed25519::isSignature($signature->bytes, $signed, $peer->publicKey)) {
                return true;
            }
        }

        return false;
    }

    public function toJson(): string
    {
        return Json::encode($this->toArray());
    }

    /** @return array{payload: string, payloadType: string, signatures: list<array{keyid: string, sig: string}>} */
    public function toArray(): array
    {
        return [
            'payload' => base64_encode($this->payload),
            'payloadType' => $this->payloadType,
            'signatures' => array_map(
                static fn (Signature $item): array => ['keyid' => $item->keyId, 'sig' => base64_encode($item->bytes)],
                $this->signatures,
            ),
        ];
    }
}
