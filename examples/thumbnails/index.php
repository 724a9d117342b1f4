<?php

/*
 * A page that makes a thumbnail of each picture, several at once, and shows each as it arrives.
 *
 *     plasmd --detach
 *     php -S 127.0.0.1:8000 -t examples/thumbnails
 *
 * Then open http://127.0.0.1:8000/ in a browser. Without pictures of your own it makes fifty.
 */

declare(strict_types=1);

require __DIR__ . '/../../php/autoload.php';

/** Return a picture of 400 x 300 pixels as a Windows bitmap: two colours that run into one another. */
function sample(int $number): string
{
    $rows = '';
    for ($y = 0; $y < 300; ++$y) {
        $rows .= str_repeat(pack('C3', $number * 5 % 256, intdiv($y * 255, 300), 255 - $number * 5 % 256), 400);
    }

    return 'BM' . pack('VVVVVVvvVVVVVV', 54 + strlen($rows), 0, 54, 40, 400, 300, 1, 24, 0, strlen($rows), 2835, 2835, 0, 0) . $rows;
}

/** @return iterable<string, mixed> what `Client::map()` takes: the name of each picture, and its bytes */
function pictures(): iterable
{
    $uploaded = $_FILES['pictures']['tmp_name'] ?? [];
    foreach ($uploaded as $number => $path) {
        if ($_FILES['pictures']['error'][$number] === UPLOAD_ERR_OK) {
            yield $_FILES['pictures']['name'][$number] => new SplFileInfo($path);
        }
    }
    for ($number = 1; $uploaded === [] && $number <= 50; ++$number) {
        yield "sample $number" => sample($number);
    }
}

$count = count($_FILES['pictures']['tmp_name'] ?? []) ?: 50;
header('Content-Type: text/html; charset=utf-8');
header('X-Accel-Buffering: no'); // nginx passes each picture on as it comes
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thumbnails</title>
<style>
    body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
    progress { width: 100%; }
    main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
    figure { margin: 0; }
    figcaption { font-size: .8rem; overflow-wrap: anywhere; }
    .failed { color: #a00; }
</style>
<h1>Thumbnails</h1>
<form method="post" enctype="multipart/form-data">
    <label>Windows bitmaps: <input type="file" name="pictures[]" accept="image/bmp" multiple required></label>
    <button>Make thumbnails</button>
</form>
<progress id="progress" max="<?= $count ?>" value="0" aria-label="pictures done"></progress>
<main>
<?php
$plasm = new Plasm\Client();
$done = 0;
try {
    $module = __DIR__ . '/thumbnail.wasm';
    foreach ($plasm->map($module, pictures(), ['args' => ['128'], 'wall_time' => 10], errors: true) as $name => $result) {
        ++$done;
        $caption = htmlspecialchars((string) $name);
        if ($result instanceof Plasm\JobResult && $result->ok()) {
            $picture = base64_encode($result->stdout());
            echo "<figure><img alt=\"$caption\" src=\"data:image/bmp;base64,$picture\"><figcaption>$caption</figcaption></figure>\n";
        } else {
            $why = htmlspecialchars($result instanceof Plasm\JobResult ? trim($result->stderr()) : $result->getMessage());
            echo "<figure class=\"failed\"><figcaption>$caption: $why</figcaption></figure>\n";
        }
        echo "<script>document.getElementById('progress').value = $done</script>\n";
        while (ob_get_level() > 0) {
            ob_end_flush();
        }
        flush();
    }
} catch (Plasm\Exception\ExceptionInterface $exception) {
    echo '<p class="failed">', htmlspecialchars($exception->getMessage()), "</p>\n";
}
?>
</main>
<p><?= $done ?> pictures, each with a receipt that this page has verified.</p>
</html>
