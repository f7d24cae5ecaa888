import secrets

from django.db import models
from django.utils import timezone
from django.utils.dateparse import parse_datetime


def new_id():
    """Random, because anyone who knows the address of an order's page may see it. 12 characters, because M-Pesa shows no more."""
    return secrets.token_hex(6).upper()


class Order(models.Model):
    id = models.CharField(primary_key=True, max_length=12, default=new_id)
    kilograms = models.PositiveIntegerField()
    amount_minor = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    paid_at = models.DateTimeField(null=True)
    receipt = models.CharField(max_length=64, blank=True)

    @classmethod
    def mark_paid(cls, order):
        """Returns whether the order was not paid before: an event may arrive twice, and at once."""
        unpaid = cls.objects.filter(id=order["orderId"], paid_at=None)
        receipt = order["payment"].get("receipt", "")
        return unpaid.update(paid_at=parse_datetime(order["occurredAt"]), receipt=receipt) == 1
