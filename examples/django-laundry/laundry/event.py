"""Verifies the messages that Tukio posts, by the rules of Standard Webhooks 1.0.

The library `standardwebhooks` does the same: `Webhook(secret).verify(body, headers)`.
"""

import base64
import hmac
import json
import re
import time

# Longer is not accepted, because somebody may send a message that they have overheard again.
TOLERANCE_S = 300


class NotSigned(Exception):
    """The message is not Tukio's."""


def is_secret(secret):
    """An empty secret is none: anybody can sign with it."""
    return re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,}={0,2}", secret) is not None


def verify_event(body, headers, secret):
    """Returns the event. `body` is the bytes as they arrived, because the signature is over them."""
    if not is_secret(secret):
        raise ValueError("The secret must be the endpoint's secret: whsec_ and base64")
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
