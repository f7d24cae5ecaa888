import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from .event import is_secret

TUKIO_URL = os.environ.get("TUKIO_URL", "http://localhost:3000")
TUKIO_API_KEY = os.environ.get("TUKIO_API_KEY", "")
TUKIO_WEBHOOK_SECRET = os.environ.get("TUKIO_WEBHOOK_SECRET", "")
if not is_secret(TUKIO_WEBHOOK_SECRET):
    raise ImproperlyConfigured("Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64")

BASE_DIR = Path(__file__).resolve().parent.parent
# For a try. In production: a secret of your own, and the names of your host.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for a try")
# Only on your own machine, because the page of an error shows variables, such as the headers of a call.
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["laundry"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "laundry.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "laundry.db"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Africa/Nairobi"
