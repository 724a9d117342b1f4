<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Files\FileLimits;
use Plasm\Files\FileTree;
use Plasm\Files\Pack;
use Plasm\Files\PackedFiles;
use Plasm\Source\FileSource;
use Plasm\Source\SourceInterface;
use Plasm\Source\StringSource;

/** A manifest with the bytes that it names. Submitting it twice is one job. */
final readonly class Submission
{
    private const OPTIONS = [
        'args', 'attempts', 'cpu', 'entry', 'env', 'file_limits', 'files', 'gas', 'grants', 'memory', 'output', 'outputs',
        'profile', 'route', 'seed', 'stdin', 'verify', 'wall_time',
    ];

    /** The options of a job with files. */
    public const FILE_OPTIONS = ['files', 'outputs', 'file_limits'];

    /**
     * @param string $args the arguments' list encoding
     * @param string $env the environment's list encoding
     * @param Pack|null $files the input tree of a job with files
     * @param string $route `here`, or `network`: the node is asked to have another one run the job
     */
    private function __construct(
        public Manifest $manifest,
        public SourceInterface $module,
        public string $args,
        public string $env,
        public SourceInterface $stdin,
        public string $route,
        public ?Pack $files = null,
    ) {
    }

    /**
     * Make a job of a module and options.
     *
     * @param string|\SplFileInfo|SourceInterface|resource $module a path, or the module itself, which begins with
     *                                                             `\0asm`
     * @param array<string, mixed> $options see `Client::submit()`
     *
     * @throws InvalidArgument if an option is unknown or cannot be used
     * @throws InvalidRecord if no manifest can express the options
     */
    public static function create(mixed $module, array $options = []): self
    {
        if (array_key_exists('capabilities', $options)) {
            throw new InvalidArgument('the option capabilities is called grants now');
        }
        if (array_key_exists('timeout', $options)) {
            throw new InvalidArgument(
                "the job's option timeout is called wall_time now; timeout is how long a call of the client waits",
            );
        }
        $unknown = array_diff(array_keys($options), self::OPTIONS);
        if ($unknown !== []) {
            throw new InvalidArgument(
                'unknown option: ' . implode(', ', $unknown) . '; there are ' . implode(', ', self::OPTIONS),
            );
        }
        if (($options['verify'] ?? 'signature') !== 'signature') {
            throw new InvalidArgument('verify: this client verifies by "signature" only');
        }
        $route = $options['route'] ?? 'here';
        if (!in_array($route, ['here', 'network'], true)) {
            throw new InvalidArgument('route: expected "here" or "network"');
        }
        $module = self::module($module);
        $args = Digest::encodeList(self::args($options['args'] ?? []));
        $env = Digest::encodeList(self::env($options['env'] ?? []));
        $stdin = self::source($options['stdin'] ?? '', 'stdin');
        $packed = self::packed($options);
        $entry = isset($options['entry']) ? self::text($options['entry'], 'entry') : null;
        $least = $packed === null && $entry === null ? Manifest::PROFILE : Manifest::PROFILE_V2;
        $task = new Task(
            profile: self::text($options['profile'] ?? $least, 'profile'),
            module: $module->sha256(),
            args: Digest::of($args),
            env: Digest::of($env),
            stdin: $stdin->sha256(),
            seed: self::text($options['seed'] ?? Manifest::ZERO_SEED, 'seed'),
            limits: new Limits(
                gas: Quantity::of($options['gas'] ?? Limits::DEFAULT_GAS, 'gas'),
                memoryBytes: Quantity::of($options['memory'] ?? Limits::DEFAULT_MEMORY_BYTES, 'memory'),
                outputBytes: Quantity::of($options['output'] ?? Limits::DEFAULT_OUTPUT_BYTES, 'output'),
            ),
            capabilities: self::texts($options['grants'] ?? [], 'grants'),
            files: $packed?->asked,
            entry: $entry,
        );
        $manifest = Manifest::forTask(
            $task,
            wallTimeS: Quantity::seconds($options['wall_time'] ?? 60, 'wall_time'),
            cpu: Quantity::of($options['cpu'] ?? 1, 'cpu'),
            attempts: Quantity::of($options['attempts'] ?? 3, 'attempts'),
        );

        return new self($manifest, $module, $args, $env, $stdin, $route, $packed?->pack);
    }

    /**
     * Put a manifest together with the bytes that it names.
     *
     * @param string|\SplFileInfo|SourceInterface|resource $module as in `create()`
     * @param array<string, mixed> $input `args`, `env`, `stdin`, `files`, `outputs` and `route`, as in
     *     `Client::submit()`
     *
     * @throws InvalidArgument if they are not those that it names
     */
    public static function ofManifest(Manifest $manifest, mixed $module, array $input = []): self
    {
        $unknown = array_diff(array_keys($input), ['args', 'env', 'stdin', 'files', 'outputs', 'route']);
        if ($unknown !== []) {
            throw new InvalidArgument('not to be given beside a manifest: ' . implode(', ', $unknown));
        }
        $job = self::create($module, $input);
        foreach (['module', 'args', 'env', 'stdin'] as $name) {
            if ($job->manifest->task->$name !== $manifest->task->$name) {
                throw new InvalidArgument("$name is not what the manifest names");
            }
        }
        if ($job->files?->tree !== $manifest->task->files?->tree) {
            throw new InvalidArgument('files: they are not what the manifest names');
        }

        return new self($manifest, $job->module, $job->args, $job->env, $job->stdin, $job->route, $job->files);
    }

    public function id(): string
    {
        return $this->manifest->jobId();
    }

    /** Return another job of the same task, with an unrelated job id. */
    public function another(): self
    {
        $asked = $this->manifest;
        $manifest = Manifest::forTask($asked->task, $asked->wallTimeS, $asked->cpu, $asked->attempts);

        return new self($manifest, $this->module, $this->args, $this->env, $this->stdin, $this->route, $this->files);
    }

    /**
     * Return the source that a module is read from.
     *
     * @param string|\SplFileInfo|SourceInterface|resource $module as in `create()`
     *
     * @throws InvalidArgument if it cannot be read
     */
    public static function module(mixed $module): SourceInterface
    {
        if (is_string($module)) {
            // No path holds a NUL.
            return str_starts_with($module, "\0asm") ? new StringSource($module) : FileSource::open($module);
        }

        return self::source($module, 'the module');
    }

    /**
     * Read the files that options name; null for a job without.
     *
     * @param array<string, mixed> $options `files`, `outputs`, `file_limits`
     *
     * @throws InvalidArgument
     */
    public static function packed(array $options): ?PackedFiles
    {
        $given = array_intersect_key($options, array_flip(self::FILE_OPTIONS));
        if ($given === []) {
            return null;
        }
        $files = $given['files'] ?? [];
        if ($files instanceof PackedFiles) {
            if (count($given) > 1) {
                throw new InvalidArgument('outputs and file_limits were given with the files that were packed');
            }

            return $files;
        }
        if (!is_array($files)) {
            throw new InvalidArgument('files: expected an array of paths and contents');
        }
        $limits = $given['file_limits'] ?? new FileLimits();
        if (!$limits instanceof FileLimits) {
            throw new InvalidArgument('file_limits: expected a Plasm\Files\FileLimits');
        }

        return FileTree::packed($files, self::texts($given['outputs'] ?? [], 'outputs'), $limits);
    }

    private static function source(mixed $value, string $name): SourceInterface
    {
        return match (true) {
            $value instanceof SourceInterface => $value,
            $value instanceof \SplFileInfo => FileSource::open($value->getPathname()),
            is_string($value) => new StringSource($value),
            is_resource($value) => FileSource::ofStream($value),
            default => throw new InvalidArgument("$name: expected a string, a stream or an SplFileInfo"),
        };
    }

    /** @return list<string> */
    private static function args(mixed $value): array
    {
        $args = self::texts($value, 'args');
        foreach ($args as $item) {
            if (str_contains($item, "\0")) {
                throw new InvalidArgument('args: an argument cannot hold a NUL: a job would see it cut short');
            }
        }

        return $args;
    }

    /** @return list<string> */
    private static function env(mixed $value): array
    {
        if (!is_array($value)) {
            throw new InvalidArgument('env: expected an array of names and values');
        }
        $items = [];
        if (array_is_list($value)) {
            foreach (self::texts($value, 'env') as $item) {
                if (str_contains($item, "\0") || (strpos($item, '=') ?: 0) < 1) {
                    throw new InvalidArgument("env: expected NAME=VALUE, got $item");
                }
                $items[] = $item;
            }

            return $items;
        }
        foreach ($value as $name => $text) {
            if (!is_string($name) || $name === '' || str_contains($name, '=')) {
                throw new InvalidArgument("env: $name is not the name of a variable");
            }
            $item = "$name=" . self::text($text, "env.$name");
            if (str_contains($item, "\0")) {
                throw new InvalidArgument("env.$name: a variable cannot hold a NUL: a job would see it cut short");
            }
            $items[] = $item;
        }

        return $items;
    }

    /** @return list<string> */
    private static function texts(mixed $value, string $name): array
    {
        if (!is_array($value) || !array_is_list($value)) {
            throw new InvalidArgument("$name: expected a list");
        }

        return array_map(static fn (mixed $item): string => self::text($item, $name), $value);
    }

    private static function text(mixed $value, string $name): string
    {
        if (!is_string($value) && !is_int($value) && !$value instanceof \Stringable) {
            throw new InvalidArgument("$name: expected a string, got " . get_debug_type($value));
        }

        return (string) $value;
    }
}
