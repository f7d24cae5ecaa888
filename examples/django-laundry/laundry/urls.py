from django.urls import path

from . import views

urlpatterns = [
    path("", views.shop),
    path("orders", views.start_order),
    path("orders/<str:order_id>", views.show_order, name="order"),
    path("hooks/tukio", views.receive_event),
]
