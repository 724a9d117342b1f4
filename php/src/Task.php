<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Files\JobFiles;

/** The computation itself, by digests. Equal task digests must give equal observables. */
final readonly class Task
{
    /**
     * @param string $module digest in hexadecimal, as are `$args`, `$env` and `$stdin`
     * @param string $seed 64 hexadecimal digits
     * @param list<string> $capabilities
     * @param string|null $entry the export that is called in place of `_start`
     */
    public function __construct(
        public string $profile,
        public string $module,
        public string $args,
        public string $env,
        public string $stdin,
        public string $seed,
        public Limits $limits,
        public array $capabilities,
        public ?JobFiles $files = null,
        public ?string $entry = null,
    ) {
    }

    /** Return the task digest of docs/determinism.md. */
    public function digest(): string
    {
        $capabilities = $this->capabilities;
        sort($capabilities, SORT_STRING);

        return Digest::tagged([
            'profile' => $this->profile,
            'module' => sodium_hex2bin($this->module),
            'args' => sodium_hex2bin($this->args),
            'env' => sodium_hex2bin($this->env),
            'stdin' => sodium_hex2bin($this->stdin),
            'seed' => sodium_hex2bin($this->seed),
            'gas' => pack('P', $this->limits->gas),
            'memory' => pack('P', $this->limits->memoryBytes),
            'output' => pack('P', $this->limits->outputBytes),
            'capabilities' => implode("\n", $capabilities),
            ...($this->files?->digested() ?? []),
            ...($this->entry === null ? [] : ['entry' => $this->entry]),
        ]);
    }

    /** Tell whether another run must give the same observables. */
    public function reproducible(): bool
    {
        return $this->capabilities === [];
    }
}
