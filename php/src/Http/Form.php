<?php

declare(strict_types=1);

namespace Plasm\Http;

use Plasm\Source\SourceInterface;
use Plasm\Source\StringSource;

/** A multipart form (RFC 7578) whose parts are read as they are sent. */
final class Form
{
    public readonly string $boundary;

    /** @var list<SourceInterface> */
    private array $pieces = [];

    public function __construct()
    {
        $this->boundary = bin2hex(random_bytes(24));
    }

    /** Add a part; with a file name, it is sent as a file. */
    public function add(string $name, string|SourceInterface $value, ?string $fileName = null): void
    {
        $file = $fileName === null ? '' : "; filename=\"$fileName\"";
        $this->pieces[] = new StringSource(
            "--$this->boundary\r\nContent-Disposition: form-data; name=\"$name\"$file\r\n\r\n",
        );
        $this->pieces[] = is_string($value) ? new StringSource($value) : $value;
        $this->pieces[] = new StringSource("\r\n");
    }

    /** @return list<SourceInterface> the body */
    public function body(): array
    {
        return [...$this->pieces, new StringSource("--$this->boundary--\r\n")];
    }
}
