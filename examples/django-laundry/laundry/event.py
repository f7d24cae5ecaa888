"""Verifies the messages that Tukio posts, by the rules of Standard Webhooks 1.0.

The library `standardwebhooks` does the same: `Webhook(secret).verify(body, headers)`.
"""

import base64
import hmac
import json
import time

# Longer is not accepted, because somebody may send a message that they have overheard again.
TOLERANCE_S = 300


class NotSigned(Exception):
    """The message is not Tukio's."""


def verify_event(body, headers, secret):
    """Returns the event. `body` is the bytes as they arrived, because the signature is over them."""
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > TOLERANCE_S:
        raise NotSigned
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers.get('webhook-id')}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, content, "sha256"))
    # Several for 24 hours after the secret was replaced.
    signatures = headers.get("webhook-signature", "").encode().split()
    if not any(hmac.compare_digest(expected, signature) for signature in signatures):
        raise NotSigned
    return json.loads(body)
