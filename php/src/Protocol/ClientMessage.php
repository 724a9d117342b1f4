<?php

declare(strict_types=1);

namespace Plasm\Protocol;

/** A message of the client (docs/protocol.md, "Messages of the client"). */
final readonly class ClientMessage
{
    /** @param array<string, mixed> $fields */
    private function __construct(public string $type, public array $fields = [])
    {
    }

    /**
     * Ask a node to run a job.
     *
     * @param string $token 32 raw bytes, here and below
     * @param array<string, int> $sizes the bytes of each upload, by its channel's name; of `files` only for a job with files
     * @param array<string, int> $credit the first credits, by the outputs' channels' names
     * @param string $route `here` or `network`
     */
    public static function submit(
        string $manifest,
        #[\SensitiveParameter] string $token,
        array $sizes,
        array $credit,
        string $route,
    ): self {
        return new self('submit', [
            'manifest' => $manifest,
            'token' => sodium_bin2hex($token),
            'sizes' => self::of(isset($sizes['files']) ? [...Channel::UPLOADS, Channel::Files] : Channel::UPLOADS, $sizes),
            'credit' => self::of(Channel::OUTPUTS, $credit),
            'route' => $route,
        ]);
    }

    /**
     * Follow a job that was accepted, from the bytes one has already.
     *
     * @param array<string, int> $credit as in `submit`
     * @param array<string, int> $offsets how many bytes of each output there are already
     * @param int $attempt the attempt they are of
     */
    public static function attach(
        string $jobId,
        #[\SensitiveParameter] string $token,
        array $credit,
        array $offsets,
        int $attempt,
    ): self {
        return new self('attach', [
            'job_id' => $jobId,
            'token' => sodium_bin2hex($token),
            'credit' => self::of(Channel::OUTPUTS, $credit),
            'offsets' => self::of(Channel::OUTPUTS, $offsets),
            'attempt' => $attempt,
        ]);
    }

    /** Return the message with the flag `keep`: the client may start another conversation on the stream. */
    public function keeping(): self
    {
        $ends = $this->type === 'submit' ? ['follow' => false] : [];

        return new self($this->type, ['keep' => true, ...$this->fields, ...$ends]);
    }

    /** Ask for a job's status. */
    public static function status(string $jobId, #[\SensitiveParameter] string $token): self
    {
        return new self('status', ['job_id' => $jobId, 'token' => sodium_bin2hex($token)]);
    }

    /** End a job. */
    public static function cancel(string $jobId, #[\SensitiveParameter] string $token): self
    {
        return new self('cancel', ['job_id' => $jobId, 'token' => sodium_bin2hex($token)]);
    }

    /** Have an ended job's inputs and outputs deleted. */
    public static function release(string $jobId, #[\SensitiveParameter] string $token): self
    {
        return new self('release', ['job_id' => $jobId, 'token' => sodium_bin2hex($token)]);
    }

    /** Ask for bytes of an output of a job that has ended. */
    public static function fetch(
        string $jobId,
        #[\SensitiveParameter] string $token,
        string $path,
        int $offset,
        int $length,
        int $credit,
    ): self {
        return new self('fetch', [
            'job_id' => $jobId,
            'token' => sodium_bin2hex($token),
            'path' => $path,
            'offset' => $offset,
            'length' => $length,
            'credit' => $credit,
        ]);
    }

    /** Ask for a node's capability record. */
    public static function capabilities(): self
    {
        return new self('capabilities');
    }

    /** Prove to have the module, or the files: `$proof` is the digest of the challenge and their bytes. */
    public static function possession(string $proof, Channel $channel = Channel::Module): self
    {
        $about = $channel === Channel::Module ? [] : ['channel' => $channel->label()];

        return new self('possession', ['proof' => $proof, ...$about]);
    }

    /** Grant credit for an output's bytes up to an offset, of one attempt. */
    public static function credit(Channel $channel, int $upto, int $attempt): self
    {
        return new self('credit', ['channel' => $channel->label(), 'upto' => $upto, 'attempt' => $attempt]);
    }

    /** Tell the node that the client is alive. */
    public static function heartbeat(): self
    {
        return new self('heartbeat');
    }

    /** Tell the node why the client closes the stream. */
    public static function error(string $code, string $message): self
    {
        return new self('error', ['code' => $code, 'message' => $message]);
    }

    /**
     * @param list<Channel> $channels
     * @param array<string, int> $values
     *
     * @return array<string, int>
     */
    private static function of(array $channels, array $values): array
    {
        $ordered = [];
        foreach ($channels as $channel) {
            $ordered[$channel->label()] = $values[$channel->label()];
        }

        return $ordered;
    }
}
