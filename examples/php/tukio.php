<?php
/** The shop's calls to Tukio. */
declare(strict_types=1);

function tukioUrl(): string
{
    return getenv('TUKIO_URL') ?: 'http://localhost:3000';
}

/**
 * Posts to Tukio. Returns the HTTP status, and the answer. The status is 502 if there was no answer, or one that is not for the payer.
 *
 * @return array{int, array}
 */
function tukioPost(string $path, ?array $body = null, array $headers = []): array
{
    $headers[] = 'Authorization: Bearer ' . getenv('TUKIO_API_KEY');
    $headers[] = 'Content-Type: application/json';
    $http = [
        'method' => 'POST',
        'header' => $headers,
        'content' => $body === null ? '{}' : json_encode($body, JSON_THROW_ON_ERROR),
        'ignore_errors' => true,
        'timeout' => 10,
    ];
    $answer = @file_get_contents(tukioUrl() . $path, false, stream_context_create(['http' => $http]));
    $status = preg_match('/ (\d{3})/', $http_response_header[0] ?? '', $found) ? (int) $found[1] : 502;
    $body = json_decode((string) $answer, true);
    if (!is_array($body) || !in_array($status, [200, 201, 202, 400, 409, 422], true)) {
        return [502, ['detail' => 'Please try again in a moment.']];
    }
    return [$status, $body];
}
