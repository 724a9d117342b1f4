<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Source\FileSource;
use Plasm\Source\SourceInterface;
use Plasm\Source\StringSource;

/** A manifest with the bytes that it names. Submitting it twice is one job. */
final readonly class Job
{
    private const OPTIONS = [
        'args', 'attempts', 'capabilities', 'cpu', 'env', 'gas', 'memory', 'output', 'route', 'seed', 'stdin', 'timeout',
        'verify',
    ];

    private const UNITS = ['' => 1, 'KiB' => 1 << 10, 'MiB' => 1 << 20, 'GiB' => 1 << 30];

    /**
     * @param string $args the arguments' list encoding
     * @param string $env the environment's list encoding
     * @param string $route `here`, or `network`: the node is asked to have another one run the job
     */
    private function __construct(
        public Manifest $manifest,
        public SourceInterface $module,
        public string $args,
        public string $env,
        public SourceInterface $stdin,
        public string $route,
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
     * @throws InvalidRecord if no manifest can ask for what is asked
     */
    public static function create(mixed $module, array $options = []): self
    {
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
        $task = new Task(
            profile: Manifest::PROFILE,
            module: $module->sha256(),
            args: Digest::of($args),
            env: Digest::of($env),
            stdin: $stdin->sha256(),
            seed: self::text($options['seed'] ?? Manifest::ZERO_SEED, 'seed'),
            limits: new Limits(
                gas: self::integer($options['gas'] ?? Limits::DEFAULT_GAS, 'gas'),
                memoryBytes: self::size($options['memory'] ?? Limits::DEFAULT_MEMORY_BYTES, 'memory'),
                outputBytes: self::size($options['output'] ?? Limits::DEFAULT_OUTPUT_BYTES, 'output'),
            ),
            capabilities: self::texts($options['capabilities'] ?? [], 'capabilities'),
        );
        $manifest = Manifest::forTask(
            $task,
            wallTimeS: self::integer($options['timeout'] ?? 60, 'timeout'),
            cpu: self::integer($options['cpu'] ?? 1, 'cpu'),
            attempts: self::integer($options['attempts'] ?? 3, 'attempts'),
        );

        return new self($manifest, $module, $args, $env, $stdin, $route);
    }

    /**
     * Put a manifest together with the bytes that it names.
     *
     * @param string|\SplFileInfo|SourceInterface|resource $module as in `create()`
     * @param array<string, mixed> $input `args`, `env`, `stdin` and `route`, as in `Client::submit()`
     *
     * @throws InvalidArgument if they are not those that it names
     */
    public static function ofManifest(Manifest $manifest, mixed $module, array $input = []): self
    {
        $unknown = array_diff(array_keys($input), ['args', 'env', 'stdin', 'route']);
        if ($unknown !== []) {
            throw new InvalidArgument('not to be given beside a manifest: ' . implode(', ', $unknown));
        }
        $job = self::create($module, $input);
        foreach (['module', 'args', 'env', 'stdin'] as $name) {
            if ($job->manifest->task->$name !== $manifest->task->$name) {
                throw new InvalidArgument("$name is not what the manifest names");
            }
        }

        return new self($manifest, $job->module, $job->args, $job->env, $job->stdin, $job->route);
    }

    public function id(): string
    {
        return $this->manifest->jobId();
    }

    private static function module(mixed $module): SourceInterface
    {
        if (is_string($module)) {
            // No path holds a NUL.
            return str_starts_with($module, "\0asm") ? new StringSource($module) : FileSource::open($module);
        }

        return self::source($module, 'the module');
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

    private static function integer(mixed $value, string $name): int
    {
        if (is_float($value) && floor($value) === $value && abs($value) < 2 ** 53) {
            return (int) $value;
        }
        if (!is_int($value)) {
            throw new InvalidArgument("$name: expected a whole number, got " . get_debug_type($value));
        }

        return $value;
    }

    private static function size(mixed $value, string $name): int
    {
        if (is_string($value)) {
            if (preg_match('/\A([0-9]{1,13}) ?(|KiB|MiB|GiB)\z/', $value, $part) !== 1) {
                throw new InvalidArgument("$name: expected bytes, such as 67108864 or \"64MiB\"");
            }
            $value = (int) $part[1] * self::UNITS[$part[2]];
        }

        return self::integer($value, $name);
    }
}
