import logging

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import tukio
from .event import NotSigned, verify_event
from .models import Order

PRICE_MINOR_PER_KG = 15_000


def shop(request):
    return render(request, "shop.html", {"price": PRICE_MINOR_PER_KG // 100})


@require_POST
def start_order(request):
    kilograms = request.POST.get("kilograms", "")
    if len(kilograms) > 2 or not kilograms.isdecimal() or not 1 <= int(kilograms) <= 50:
        return HttpResponse("We wash 1 to 50 kg.", status=400)
    # Stored first, because the event may arrive before the answer to the request.
    order = Order.objects.create(kilograms=int(kilograms), amount_minor=int(kilograms) * PRICE_MINOR_PER_KG)
    payment = {
        "orderId": order.id,
        "amountMinor": order.amount_minor,
        "currency": "KES",
        "provider": "daraja",
        "phone": request.POST.get("phone", ""),
        "description": f"Laundry, {kilograms} kg",
    }
    try:
        tukio.post("/v1/payments", payment, {"Idempotency-Key": order.id})
    except tukio.Refused as error:
        return refuse(error)
    return redirect("order", order.id)


def refuse(error):
    """As text, because it may contain what the payer typed."""
    return HttpResponse(str(error), status=error.status, content_type="text/plain; charset=utf-8")


def show_order(request, order_id):
    order = get_object_or_404(Order, id=order_id)
    try:
        token = tukio.post(f"/v1/orders/{order.id}/watch-tokens")["watchToken"]
    except tukio.Refused as error:
        return refuse(error)
    return render(request, "order.html", {"order": order, "token": token, "tukio_url": settings.TUKIO_URL})


# Without Django's CSRF token, because Tukio's signature proves who sent the message.
@csrf_exempt
@require_POST
def receive_event(request):
    try:
        event = verify_event(request.body, request.headers, settings.TUKIO_WEBHOOK_SECRET)
    except NotSigned:
        return HttpResponse(status=401)
    if event["type"] == "order.succeeded" and Order.mark_paid(event["data"]["order"]):
        logging.warning("Order %s is paid: wash it.", event["data"]["order"]["orderId"])
    return HttpResponse(status=204)
