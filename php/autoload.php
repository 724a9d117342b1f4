<?php

declare(strict_types=1);

// Loads the classes where there is no Composer: require this one file.
spl_autoload_register(static function (string $class): void {
    if (!str_starts_with($class, 'Plasm\\') || str_starts_with($class, 'Plasm\\Tests\\')) {
        return;
    }
    $file = __DIR__ . '/src/' . strtr(substr($class, strlen('Plasm\\')), '\\', '/') . '.php';
    if (is_file($file)) {
        require $file;
    }
});
