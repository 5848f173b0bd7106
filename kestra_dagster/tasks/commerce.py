"""Shops and payments: Shopify, Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.rest import Rest

SHOPIFY = "https://{domain}/admin/api/{version}"
STRIPE = "https://api.stripe.com"


class ShopifyOrders(Rest):
    """List the orders of a shop."""

    store_domain: Dynamic[Text]
    access_token: Dynamic[Text]
    api_version: Dynamic[Text] = "2024-10"
    fetch_type: Dynamic[FetchType] = "FETCH"
    limit: Dynamic[int] | None = None
    since_id: Dynamic[int] | None = None
    status: Dynamic[Text] | None = None
    financial_status: Dynamic[Text] | None = None
    fulfillment_status: Dynamic[Text] | None = None
    created_at_min: Dynamic[Text] | None = None
    created_at_max: Dynamic[Text] | None = None
    updated_at_min: Dynamic[Text] | None = None
    updated_at_max: Dynamic[Text] | None = None

    def root(self) -> str:
        return SHOPIFY.format(domain=self.store_domain, version=self.api_version)

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"X-Shopify-Access-Token": self.access_token}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        apart = {"store_domain", "access_token", "api_version", "fetch_type", "options"}
        params = self.model_dump(exclude=apart, exclude_none=True)
        orders = self.call(context, "GET", "/orders.json", params=params).get("orders") or []
        if self.fetch_type == "STORE":
            kept = fetched(orders, "STORE", context)
            return {"count": kept["size"], "uri": kept["uri"]}
        orders = orders[:1] if self.fetch_type == "FETCH_ONE" else orders
        return {"orders": orders, "count": len(orders)}


class StripeBalance(Rest):
    """Fetch the balance of an account."""

    api_key: Dynamic[Text]

    def root(self) -> str:
        return f"{STRIPE}/v1"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.call(context, "GET", "/balance")
        kinds = {
            kind: [
                {"currency": one["currency"], "amount": one["amount"]}
                for one in found.get(kind) or []
            ]
            for kind in ("available", "pending")
        }
        return {**kinds, "raw": found}
