"""The laundry's calls to Tukio."""

import json
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings

TRY_AGAIN = "Please try again in a moment."


class Refused(Exception):
    """Tukio refused the call, or gave no answer (status 502). The text is for people."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


def post(path, body=None, headers=None):
    request = Request(
        settings.TUKIO_URL + path,
        data=json.dumps(body or {}).encode(),
        headers={
            "Authorization": f"Bearer {settings.TUKIO_API_KEY}",
            "Content-Type": "application/json",
            **(headers or {}),
        },
    )
    try:
        with urlopen(request, timeout=10) as response:
            return json.load(response)
    except HTTPError as error:
        raise Refused(error.code, detail_of(error)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(502, TRY_AGAIN) from error


def detail_of(error):
    """What the payer may correct. Not the other faults, such as a wrong API key."""
    try:
        return json.load(error)["detail"] if error.code in (400, 409, 422) else TRY_AGAIN
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return TRY_AGAIN
