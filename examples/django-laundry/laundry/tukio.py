"""The laundry's calls to Tukio."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings


class Refused(Exception):
    """Tukio refused the call. The text is for people."""

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
        raise Refused(error.code, json.load(error)["detail"]) from error
