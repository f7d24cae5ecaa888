<?php
/** A shop that sells one basket: it starts the payment, shows it live, and marks the order paid when Tukio reports it. */
declare(strict_types=1);

require __DIR__ . '/event.php';
require __DIR__ . '/store.php';
require __DIR__ . '/tukio.php';

const ITEM = 'Woven basket';
const PRICE_MINOR = 240000;

function showPage(int $status, string $body): void
{
    http_response_code($status);
    header('Content-Type: text/html; charset=utf-8');
    echo '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Baskets</title>', $body;
}

function showShop(): void
{
    showPage(200, '<h1>' . ITEM . ', KES ' . PRICE_MINOR / 100 . '</h1>
        <form method="post" action="/orders">
        <label>M-Pesa number <input name="phone" type="tel" value="0712345600" required></label> <button type="submit">Pay</button></form>');
}

function startOrder(): void
{
    // Random, because anyone who knows the address of an order's page may see it. 12 characters, because M-Pesa shows no more.
    $id = strtoupper(bin2hex(random_bytes(6)));
    // Stored first, because the event may arrive before the answer to the request.
    addOrder($id, ITEM);
    [$status, $answer] = tukioPost('/v1/payments', [
        'orderId' => $id,
        'amountMinor' => PRICE_MINOR,
        'currency' => 'KES',
        'provider' => 'daraja',
        'phone' => is_string($_POST['phone'] ?? null) ? $_POST['phone'] : '',
        'description' => ITEM,
    ], ["Idempotency-Key: $id"]);
    if ($status === 202) {
        header("Location: /orders/$id", true, 303);
    } else {
        showPage($status, '<p>' . htmlspecialchars($answer['detail']) . '</p><p><a href="/">Back</a></p>');
    }
}

function showOrder(string $id): void
{
    $order = findOrder($id);
    if (!$order) {
        showPage(404, 'There is no such order.');
        return;
    }
    [$status, $answer] = tukioPost("/v1/orders/$id/watch-tokens");
    if (!isset($answer['watchToken'])) {
        showPage(502, '<p>' . htmlspecialchars($answer['detail'] ?? 'Please try again in a moment.') . '</p>');
        return;
    }
    [$url, $token, $item, $receipt] = array_map(
        fn($text) => htmlspecialchars((string) $text),
        [tukioUrl(), $answer['watchToken'], $order['item'], $order['receipt']],
    );
    $state = $order['paid_at'] ? "Paid: $receipt. We are weaving." : 'Not paid yet.';
    // The element may show the payment before this page does: the page's own state is then hidden.
    showPage(200, "<p id=\"state\">$state</p>
        <order-status url=\"$url\" order-id=\"$id\" token=\"$token\" item=\"$item\"></order-status>
        <script type=\"module\" src=\"$url/sdk/tukio.js\"></script>
        <script>
            document.querySelector('order-status').addEventListener('statuschange', (event) => {
                if (event.detail.status === 'succeeded') document.querySelector('#state').hidden = true;
            });
        </script>");
}

function receiveEvent(): void
{
    try {
        $event = verifyEvent(file_get_contents('php://input'), (string) getenv('TUKIO_WEBHOOK_SECRET'));
    } catch (InvalidArgumentException | JsonException $error) {
        error_log($error->getMessage());
        http_response_code(500);
        return;
    }
    if (!$event) {
        http_response_code(401);
        return;
    }
    if ($event['type'] === 'order.succeeded' && markPaid($event['data']['order'])) {
        error_log("Order {$event['data']['order']['orderId']} is paid: weave a basket.");
    }
    http_response_code(204);
}

$path = (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
match (true) {
    $_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/hooks/tukio' => receiveEvent(),
    $_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/orders' => startOrder(),
    preg_match('#^/orders/([0-9A-F]{12})$#', $path, $found) === 1 => showOrder($found[1]),
    $path === '/' => showShop(),
    default => showPage(404, 'There is no such page.'),
};
