<?php
/**
 * Verifies the messages that Tukio posts, by the rules of Standard Webhooks 1.0. The library standard-webhooks/standard-webhooks
 * does the same: `(new \StandardWebhooks\Webhook($secret))->verify($body, $headers)`.
 */
declare(strict_types=1);

/** Longer is not accepted, because somebody may send a message that they have overheard again. */
const TOLERANCE_S = 300;

/**
 * Returns the event, or null if the message is not Tukio's.
 *
 * @param string $body the bytes as they arrived, because the signature is over them
 */
function verifyEvent(string $body, string $secret): ?array
{
    // An empty secret is none: anybody can sign with it.
    if (!preg_match('#^whsec_([A-Za-z0-9+/]{32,}={0,2})$#D', $secret, $found)) {
        throw new InvalidArgumentException('Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64');
    }
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $sentAt = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    $signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
    if (!ctype_digit($sentAt) || abs(time() - (int) $sentAt) > TOLERANCE_S) {
        return null;
    }
    $key = base64_decode($found[1]);
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sentAt.$body", $key, true));
    // Several for 24 hours after the secret was replaced.
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return json_decode($body, true, flags: JSON_THROW_ON_ERROR);
        }
    }
    return null;
}
