<?php
/** The shop's calls to Tukio. */
declare(strict_types=1);

function tukioUrl(): string
{
    return getenv('TUKIO_URL') ?: 'http://localhost:3000';
}

/**
 * Posts to Tukio. Returns the answer, and its HTTP status; 0 if there was none.
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
    if ($answer === false) {
        return [0, ['detail' => 'Please try again in a moment.']];
    }
    preg_match('/ (\d{3})/', $http_response_header[0], $status);
    return [(int) $status[1], json_decode($answer, true, flags: JSON_THROW_ON_ERROR)];
}
