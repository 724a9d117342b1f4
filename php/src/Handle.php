<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;

/**
 * The submitter's secret reference to a job, without which its output cannot be fetched: treat its text as a password.
 *
 * As text: `phase0-` and base64url, unpadded, of job id ‖ secret ‖ PeerId (binary) ‖ the first 4 bytes of the
 * SHA-256 of all that, so that a truncated handle is recognised.
 */
final readonly class Handle implements \Stringable
{
    private const PREFIX = 'phase0-';

    /** @param string $jobId 64 hexadecimal digits */
    private function __construct(
        public string $jobId,
        private string $secret,
        public PeerId $peer,
    ) {
    }

    /** Make a handle with a fresh secret. */
    public static function create(string $jobId, PeerId $peer): self
    {
        return self::of($jobId, random_bytes(32), $peer);
    }

    /**
     * @param string $secret 32 raw bytes
     *
     * @throws InvalidRecord
     */
    public static function of(string $jobId, #[\SensitiveParameter] string $secret, PeerId $peer): self
    {
        if (preg_match('/\A[0-9a-f]{64}\z/', $jobId) !== 1) {
            throw self::invalid('the job id is not 64 lower-case hexadecimal digits');
        }
        if (strlen($secret) !== 32) {
            throw self::invalid('the secret is not 32 bytes long');
        }

        return new self($jobId, $secret, $peer);
    }

    /** @throws InvalidRecord */
    public static function parse(#[\SensitiveParameter] string $text): self
    {
        if (preg_match('/\A' . self::PREFIX . '[A-Za-z0-9_-]{1,256}\z/', $text) !== 1) {
            throw self::invalid('expected ' . self::PREFIX . '… and base64url');
        }
        $encoded = substr($text, strlen(self::PREFIX));
        try {
            $whole = sodium_base642bin($encoded, SODIUM_BASE64_VARIANT_URLSAFE_NO_PADDING);
        } catch (\SodiumException) {
            throw self::invalid('cut short or mistyped');
        }
        $body = substr($whole, 0, -4);
        $isWhole = hash_equals(substr(hash('sha256', $body, true), 0, 4), substr($whole, -4));
        if (!$isWhole || !hash_equals($encoded, self::encode($whole))) {
            throw self::invalid('cut short or mistyped');
        }
        try {
            $peer = PeerId::fromMultihash(substr($body, 64));
        } catch (InvalidRecord $exception) {
            throw self::invalid($exception->problems[0][1]);
        }

        return self::of(bin2hex(substr($body, 0, 32)), substr($body, 32, 32), $peer);
    }

    /** Return the token that proves the handle to a node: HMAC-SHA256(secret, PeerId), 32 raw bytes. */
    public function token(?PeerId $peer = null): string
    {
        return hash_hmac('sha256', ($peer ?? $this->peer)->multihash(), $this->secret, true);
    }

    public function __toString(): string
    {
        $body = sodium_hex2bin($this->jobId) . $this->secret . $this->peer->multihash();

        return self::PREFIX . self::encode($body . substr(hash('sha256', $body, true), 0, 4));
    }

    /** @return array<string, string> the fields that a dump may show */
    public function __debugInfo(): array
    {
        return ['jobId' => $this->jobId, 'peer' => (string) $this->peer];
    }

    private static function encode(string $bytes): string
    {
        return sodium_bin2base64($bytes, SODIUM_BASE64_VARIANT_URLSAFE_NO_PADDING);
    }

    private static function invalid(string $problem): InvalidRecord
    {
        return new InvalidRecord('handle', [['', $problem]]);
    }
}
