/**
 * The types of Tukio's API for merchants, generated from docs/openapi.json by build/schema.ts. Do not edit: run
 * `npm run build:types --workspace merchant-sdk`.
 */
export interface paths {
    "/sandbox/phone/{msisdn}/prompts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the open prompts and the SMS of a phone
         * @description `answersItself` is true if the number's scenario answers its prompts.
         */
        get: operations["listPrompts"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/sandbox/phone/prompts/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Answer a prompt
         * @description The first answer counts. `ignore` lets the prompt lapse: the provider reports that there was no answer.
         */
        post: operations["answerPrompt"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List payments
         * @description Every attempt to pay an order, newest first; with `paidFrom` or `paidTo` alone, by the time of the money. All filters may be combined. A page reads at most 1,000 payments, so that with filters it may have fewer than `limit`, or none, before the end.
         */
        get: operations["listPayments"];
        put?: never;
        /**
         * Start a payment for an order
         * @description Opens the order, or retries a failed or expired one. The order, its attempt and its version are committed before the provider is asked for the money, once. The answer does not wait for the provider.
         */
        post: operations["startPayment"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read an order
         * @description With an API key: everything about the order. With a watch token: the current state only.
         */
        get: operations["readOrder"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/resolve": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Decide on a payment in review
         * @description `succeeded` keeps the mismatch as the order's `reason`, with the paid amount. `failed` has the reason `rejected` and allows another attempt.
         */
        post: operations["resolveReview"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/watch-tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Issue a new watch token
         * @description The request has no body.
         */
        post: operations["issueWatchToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List orders, or read a feed of changes
         * @description Newest first. All filters may be combined. With `paidFrom` or `paidTo` alone, by the time of the money; with `phone` or `receipt`, by the start of the payment. With `changedSince`, by time of change, oldest first: a feed for a backend, at least once. A page reads at most 1,000 orders, so that with filters it may have fewer than `limit`, or none, before the end. Read all pages with `nextCursor`, then continue with the last `occurredAt` as `changedSince`: the changes of the 10 s before it are repeated, so that none is missed.
         */
        get: operations["listOrders"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders.csv": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List all orders in CSV
         * @description The filters of `GET /v1/orders`. One line for each order, with the payment that its state comes from.
         */
        get: operations["exportOrders"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payments.csv": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List all payments in CSV
         * @description The filters of `GET /v1/payments`. One line for each payment.
         */
        get: operations["exportPayments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/reports/summary": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Add up the money that moved
         * @description Counts each payment that succeeded by the time of its money (`paidAt`), also the second one of an order that was paid twice. Each row has one currency, and either live or sandbox payments. Rows without payments are left out. At most 366 days.
         */
        get: operations["summarizePayments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payments/{id}/ask": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Ask the provider about a payment now
         * @description The answer counts like that of every query, so a failure must be answered twice, at least 15 s apart and 60 s after the start. It never moves money. A payment is asked about six times in a minute at most, and at the provider's pace. The request has no body.
         */
        post: operations["askProvider"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the webhooks of providers
         * @description Newest first, with phones, names and secrets masked. A page reads at most 1,000 webhooks, so that with filters it may have fewer than `limit`, or none, before the end. Contents are erased after 90 days, refused webhooks after 7 days.
         */
        get: operations["listWebhooks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/apply": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Apply an unmatched webhook to a payment
         * @description You state that the webhook belongs to the payment. It then counts as if it had named the payment: its amount, currency and receipt are compared as those of every webhook. One that proves nothing makes the node ask the provider.
         */
        post: operations["applyWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/results": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Give a paid order a result
         * @description Every watcher receives the result at once. The same `id` again replaces the result. At most 20 results and 8 KiB, as JSON, for an order.
         */
        post: operations["putResult"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/results/{resultId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Remove a result from an order
         * @description The history keeps it, until its data is erased.
         */
        delete: operations["removeResult"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the enabled providers */
        get: operations["listProviders"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/{provider}/token": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Fetch the provider's access token ahead of need
         * @description Fetches only if less than 5 min are left. The request has no body, and the answer never contains the token.
         */
        post: operations["fetchProviderToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/doctor": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Examine the nodes and what they depend on
         * @description Fetches an access token of each provider now, logs in to the mail server, and looks at PostgreSQL, Redis, the spool, the public URL, the endpoints and the other nodes. Answers within 10 s, also if something hangs, and always with 200. Callers at the same time share one examination, and one that is less than 5 s old is not repeated. The answer contains no secret.
         */
        get: operations["examine"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/wait": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Wait for a newer state (long poll)
         * @description Answers as soon as there is a version newer than `after`, or, without `after`, as soon as the order is settled. Answers with the current state after `timeout` seconds and when the token expires. Any node can answer.
         */
        get: operations["waitForOrder"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/endpoints": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the endpoints */
        get: operations["listEndpoints"];
        put?: never;
        /**
         * Create an endpoint
         * @description It receives a signed message for every change of an order from now on, at least once. The answer has the secret that verifies the signatures.
         */
        post: operations["createEndpoint"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/endpoints/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read an endpoint */
        get: operations["readEndpoint"];
        put?: never;
        post?: never;
        /** Delete an endpoint with its history */
        delete: operations["deleteEndpoint"];
        options?: never;
        head?: never;
        /**
         * Change, disable or enable an endpoint
         * @description While it is disabled, what is due stays due. Enabling it sends that, also what had no attempts left.
         */
        patch: operations["changeEndpoint"];
        trace?: never;
    };
    "/v1/endpoints/{id}/rotate-secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Replace the secret
         * @description The old secret signs too for 24 hours. The secret of `ENDPOINT_URL` is changed in `ENDPOINT_SECRET`.
         */
        post: operations["rotateSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/endpoints/{id}/ping": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a test message
         * @description Sends a message of type `ping` now, also to a disabled endpoint, and returns the answer.
         */
        post: operations["pingEndpoint"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/endpoints/{id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List an endpoint's deliveries
         * @description The attempts of the last 30 days, newest first. With `status=pending`: what is due, the soonest first.
         */
        get: operations["listDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/endpoints/{id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send current states again
         * @description Sends the current state of one order, or of every order that changed in a time, as `order.<status>`, if the endpoint receives that type.
         */
        post: operations["replayEndpoint"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the history of events, or follow it
         * @description Every version of every order, oldest first, at least once. Read pages with `nextCursor`, which is null at the end; later continue with `endCursor`. With `Accept: text/event-stream`: a live stream of all orders, from `Last-Event-ID`, `cursor` or `since` on, else from now on. The `data` of its messages are entries as in a page, its `id` is a cursor.
         */
        get: operations["readEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payment-links": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List payment links
         * @description Newest first. With `status`, a page may have fewer links than `limit` before the end.
         */
        get: operations["listPaymentLinks"];
        put?: never;
        /**
         * Create a payment link
         * @description No order exists until a payer acts on the link's page. The order id then belongs to the link: no other call opens or retries that order.
         */
        post: operations["createPaymentLink"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payment-links/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read a payment link */
        get: operations["readPaymentLink"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payment-links/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a payment link
         * @description Its page starts no payment any more. A payment that is in progress goes on; if it succeeds, the link is `paid`. Cancelling it again changes nothing.
         */
        post: operations["cancelPaymentLink"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payment-links/{id}/qr.svg": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read the QR code of a payment link's page (image/svg+xml) */
        get: operations["readPaymentLinkQrSvg"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/payment-links/{id}/qr.png": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read the QR code of a payment link's page (image/png) */
        get: operations["readPaymentLinkQrPng"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List plans
         * @description Newest first.
         */
        get: operations["listPlans"];
        put?: never;
        /**
         * Create a plan
         * @description Each instalment is a payment link with the order id `<planId>-<n>`. Those of a counted plan are created with it; an endless one always has one that is not due yet.
         */
        post: operations["createPlan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans/{planId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read a plan */
        get: operations["readPlan"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans/{planId}/pause": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Pause a plan
         * @description It does not become `past_due`, and an endless plan gets no further instalments. Open instalments can still be paid. Pausing it again changes nothing.
         */
        post: operations["pausePlan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans/{planId}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Resume a paused plan
         * @description Open instalments are owed, with new days of grace. An endless plan skips the dates that passed during the pause. Resuming a plan that is not paused changes nothing.
         */
        post: operations["resumePlan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans/{planId}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a plan
         * @description Its open instalments are cancelled. A payment that is in progress goes on; if it succeeds, the instalment is `paid`. Cancelling it again changes nothing.
         */
        post: operations["cancelPlan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/sandbox/clock": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Move the time of plans
         * @description For tests, on nodes whose providers are all sandboxes. What becomes due in the time that is skipped happens at once, on all nodes of the database. The times of orders and messages stay real.
         */
        post: operations["advanceClock"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/notifications": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the active notifications */
        get: operations["listNotifications"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/notifications/{name}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List a notification's deliveries
         * @description The attempts of the last 30 days, newest first. With `status=pending`: what is due, the soonest first. An order about which there is nothing to send, such as a receipt without an address, has none.
         */
        get: operations["listNotificationDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/notifications/{name}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send notifications again
         * @description For one order, or for every order that changed in a time and is of a type that the notification is sent for.
         */
        post: operations["replayNotification"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/notifications": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What was sent about an order
         * @description For each active notification. One without `latest` and `pending` has sent nothing about the order in the last 30 days.
         */
        get: operations["listOrderNotifications"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/orders/{orderId}/notifications/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a notification about an order again
         * @description A new mail or SMS is sent about the order as it is now. An SMS costs money each time. `alert`: the next mail has the order, if it is in review or was paid twice.
         */
        post: operations["sendNotification"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/notifications/{name}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a test mail or SMS
         * @description Sends one mail or SMS now, and returns the answer of the mail server or the gateway. Without one, the message stays in the sandbox. An SMS costs money. At most 10 of each notification in a minute and node.
         */
        post: operations["testNotification"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the API keys
         * @description Without those of `TUKIO_API_KEY`.
         */
        get: operations["listKeys"];
        put?: never;
        /**
         * Create an API key
         * @description The answer has the secret, which is not stored and never shown again. It works at once on the node that answers, and within 5 s on the others. At most 1000 keys.
         */
        post: operations["createKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/keys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Revoke an API key
         * @description The key, its sessions and its open streams end within 5 s on every node.
         */
        delete: operations["revokeKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the changes that were made with API keys
         * @description Newest first, of the last 365 days. A change with the scope `pay` is listed within a few seconds.
         */
        get: operations["listAudit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/desk/session": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read the session */
        get: operations["readSession"];
        put?: never;
        /**
         * Sign in to the desk with an API key
         * @description Opens a session of 12 hours, whose token is in a cookie that scripts cannot read. It ends the session that the browser had, and the oldest one of more than 20 sessions of the key.
         */
        post: operations["signIn"];
        /**
         * Sign out of the desk
         * @description The session ends within 5 s on every node. Without a session, only the cookie is removed.
         */
        delete: operations["signOut"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/plans/{planId}/pay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Prompt the customer for instalments
         * @description Starts a payment of the oldest open instalment, or of all up to `n` in one order with the id `<planId>-<first>:<last>`, on the phone of the plan's customer. The order, its attempt and its version are committed before the provider is asked for the money, once.
         */
        post: operations["payPlan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description RFC 9457 problem details. */
        Problem: {
            type: string;
            title: string;
            status: number;
            /** @description For people; the text may change. */
            detail: string;
            /**
             * @description For programs; the codes are stable.
             * @enum {string}
             */
            code: "amount_invalid" | "currency_invalid" | "phone_invalid" | "body_invalid" | "webhook_unreadable" | "key_invalid" | "token_invalid" | "token_expired" | "webhook_rejected" | "origin_refused" | "scope_missing" | "order_unknown" | "payment_unknown" | "result_unknown" | "provider_unknown" | "payment_link_unknown" | "notification_unknown" | "plan_unknown" | "endpoint_unknown" | "key_unknown" | "webhook_unknown" | "route_unknown" | "method_not_allowed" | "request_timeout" | "payment_in_progress" | "order_paid" | "order_unpaid" | "recipient_missing" | "order_in_review" | "not_in_review" | "not_askable" | "webhook_settled" | "secret_unreadable" | "secret_configured" | "payment_link_closed" | "plan_exists" | "plan_closed" | "credit_exceeded" | "endpoint_limit" | "key_limit" | "order_mismatch" | "body_too_large" | "idempotency_mismatch" | "upgrade_required" | "rate_limited" | "headers_too_large" | "internal" | "not_ready" | "provider_unavailable" | "restarting" | "store_unavailable";
            /** @description Whether the same request may succeed later. */
            retryable: boolean;
            /** @description Every wrong field. */
            errors?: {
                /** @description Dotted, as in `customer.email`. */
                path: string;
                message: string;
            }[];
            order?: components["schemas"]["StatusEvent"];
        };
        /** @description The whole current state of one order, never a difference. */
        StatusEvent: {
            /**
             * Format: uuid
             * @description The order's uuid. Another uuid means another order, whose versions start at 1 again.
             */
            id: string;
            /** @description Your name for the order. */
            orderId: string;
            /** @description Grows when the database has lost commits, for example in a failover. Versions compare within one epoch. */
            epoch?: number;
            /** @description Starts at 1 and grows by one with every change. Keep the higher version, drop the others. */
            version: number;
            status: components["schemas"]["Status"];
            /** @description Whether the payer and the provider have nothing more to do. A late success or another attempt may still change the order. The order is paid only if `status` is `succeeded`; `review` waits for you. */
            settled: boolean;
            reason?: components["schemas"]["Reason"];
            /** @description The amount to pay, in the currency's minor unit. */
            amountMinor: number;
            /** @description ISO 4217. */
            currency: string;
            /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
            live: boolean;
            /** @description The attempt that caused this state. */
            payment: {
                /** Format: uuid */
                id: string;
                provider: string;
                /** @description 1 for the order's first attempt. */
                attempt: number;
                /**
                 * Format: date-time
                 * @description When the payment was stored. ISO 8601, UTC.
                 */
                startedAt: string;
                /**
                 * Format: date-time
                 * @description When it expires without an outcome. ISO 8601, UTC.
                 */
                expiresAt: string;
                /** @description The paid amount, once known, in the currency's minor unit. */
                amountPaidMinor?: number;
                /** @description The provider's proof of payment, once known. */
                receipt?: string;
                action?: components["schemas"]["Action"];
            };
            /** @description Other attempts of this order that were paid too. */
            alsoPaid?: string[];
            /** @description The payer's results, in the order in which they were added. Only a paid order has some. */
            results?: components["schemas"]["Result"][];
            /**
             * Format: date-time
             * @description When the order was opened. ISO 8601, UTC.
             */
            openedAt: string;
            /**
             * Format: date-time
             * @description When this state began; never earlier than the previous version. ISO 8601, UTC.
             */
            occurredAt: string;
            /**
             * Format: date-time
             * @description The server's time when it sent this state, for a countdown that does not depend on the device's clock. Only a watcher that asks for it with `clock` gets it, with the first state of a connection. ISO 8601, UTC.
             */
            sentAt?: string;
        };
        /**
         * @description From lowest to highest. A payment's status only rises, except that a person may reject a payment in `review`, which is then `failed`. An order also returns to `pending` with another attempt. `succeeded` is never taken back; `review` waits for a person. New values may be added: use `settled`.
         * @enum {string}
         */
        Status: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
        /**
         * @description The reason for the status. New values may be added.
         *
         *     - `cancelled`: the payer refused or cancelled the payment
         *     - `insufficient_funds`: the payer's balance is too low
         *     - `wrong_pin`: the payer entered a wrong PIN
         *     - `declined`: the provider declined the payer
         *     - `limit`: the payment exceeds a limit of the provider, on the amount or on an account
         *     - `busy`: the payer's phone shows another prompt
         *     - `provider_error`: the provider failed
         *     - `rejected`: a person decided that the money was not received, or the order was paid before the payer was prompted again
         *     - `no_response`: the payer did not answer in time, according to the provider
         *     - `deadline`: the provider reported no outcome by `expiresAt`; the payer may still have paid
         *     - `late`: paid after it had failed or expired
         *     - `amount_mismatch`: the paid amount is not the agreed one, or cannot be read (`amountPaidMinor` is then absent)
         *     - `currency_mismatch`: the paid currency is not the agreed one, or cannot be read
         *     - `receipt_reused`: the receipt belongs to another payment
         *     - `paid_twice`: another attempt of the order was paid too; see `alsoPaid`
         * @enum {string}
         */
        Reason: "cancelled" | "insufficient_funds" | "wrong_pin" | "declined" | "limit" | "busy" | "provider_error" | "rejected" | "no_response" | "deadline" | "late" | "amount_mismatch" | "currency_mismatch" | "receipt_reused" | "paid_twice";
        /** @description What the payer must do while the status is `processing`. `type` tells the actions apart. New types may be added: show the status alone. */
        Action: components["schemas"]["PromptAction"] | components["schemas"]["RedirectAction"];
        /** @description The payer must answer the prompt on the phone. */
        PromptAction: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "prompt";
            /** @description The phone that shows the prompt, masked. */
            phone: string;
        };
        /** @description The payer must open the provider's page. */
        RedirectAction: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "redirect";
            /** @description The page that the payer must open. */
            url: string;
        };
        /** @description A voucher, ticket, link or text that the payer receives for the money. */
        Result: {
            /** @description Your name for the result, unique within the order. */
            id: string;
            /**
             * @description New values may be added.
             * @enum {string}
             */
            kind: "voucher" | "ticket" | "link" | "text";
            title: string;
            /** @description Present for a voucher and a ticket. */
            code?: string;
            /**
             * Format: uri
             * @description Present for a link.
             */
            url?: string;
            /** @description Present for a text. */
            text?: string;
            /**
             * Format: date-time
             * @description When the result is no longer valid. ISO 8601, UTC.
             */
            expiresAt?: string;
        };
        /** @description The hashes of the SDK's scripts. */
        Integrity: {
            [key: string]: string;
        };
        Liveness: {
            /** @constant */
            status: "ok";
        };
        /** @description The state of the parts that the node needs. */
        Readiness: {
            /** @enum {string} */
            status: "ok" | "unavailable";
            /** @enum {string} */
            postgres: "up" | "down";
            /** @enum {string} */
            bus: "up" | "down";
            /** @enum {string} */
            spool: "up" | "down" | "off";
            /**
             * @description `conflict`: this node or another one refuses webhooks that the other one expects. `unknown`: the secrets have not been compared yet.
             * @enum {string}
             */
            secrets: "ok" | "conflict" | "unknown";
            draining: boolean;
            /** @description Present if the database's schema is older than this node needs, or if secrets are not `ok`. */
            detail?: string;
        };
        /** @description The prompts and the SMS on a sandbox phone, oldest first. */
        Prompts: {
            prompts: {
                /** Format: uuid */
                id: string;
                phone: string;
                provider: string;
                /** @description The amount to pay, in the currency's minor unit. */
                amountMinor: number;
                /** @description ISO 4217. */
                currency: string;
                /** @description The name of the merchant who asks: `metadata.merchant` of the order. */
                merchant: string;
                /** @description The payer's reference, as the provider shows it. */
                account?: string;
                /** @description The description of the order. */
                description?: string;
            }[];
            answersItself: boolean;
            sms: {
                /** Format: uuid */
                id: string;
                phone: string;
                /** @description The sender, as the phone shows it. */
                from: string;
                text: string;
                /**
                 * Format: date-time
                 * @description When the phone received it. ISO 8601, UTC.
                 */
                at: string;
            }[];
        };
        PromptAnswer: {
            /**
             * @description What the payer does.
             * @enum {string}
             */
            answer: "approve" | "cancel" | "wrong_pin" | "insufficient_funds" | "ignore";
        };
        AnsweredPrompt: {
            /** Format: uuid */
            id: string;
            /** @enum {string} */
            answer: "approve" | "cancel" | "wrong_pin" | "insufficient_funds" | "ignore";
        };
        /** @description The mails in the sandbox's inbox, newest first. */
        InboxMails: {
            mails: {
                /** Format: uuid */
                id: string;
                to: string;
                subject: string;
                /** @description The plain text, which states the same as the HTML. */
                text: string;
                html: string;
                /**
                 * Format: date-time
                 * @description When the mail arrived. ISO 8601, UTC.
                 */
                at: string;
            }[];
        };
        PaymentRequest: {
            /** @description Your name for the order, unique. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit. */
            orderId: string;
            /** @description In the currency's minor unit. Daraja takes whole shillings: multiples of 100. */
            amountMinor: number;
            /** @description ISO 4217; a currency of the provider. */
            currency: string;
            /** @description The provider that asks the payer. */
            provider: string;
            /** @description For providers that prompt a phone. E.164, or as dialled in the provider's own country. Separators, invisible characters and the digits of other scripts are accepted; a number that can be read in two ways is not. */
            phone?: string;
            description?: string | null;
            customer?: {
                /** @description Your id for the payer. */
                id?: string;
                name?: string;
                /** Format: email */
                email?: string;
                /** @description For messages to the payer. E.164, or as dialled in the provider's own country; masked in answers. */
                phone?: string;
            } | null;
            /**
             * Format: uri
             * @description The shop's page to which the payer returns from a provider's page.
             */
            returnUrl?: string;
            items?: {
                name: string;
                quantity: number;
                /** @description The amount of one, in the currency's minor unit. */
                unitAmountMinor: number;
                /** @description Your stock keeping unit. */
                sku?: string;
            }[] | null;
            lang?: ("en" | "sw" | "bn") | null;
            metadata?: {
                [key: string]: unknown;
            } | null;
        };
        StartedPayment: {
            /** @description Allows to watch this order, and nothing else. */
            watchToken: string;
            /**
             * Format: date-time
             * @description When it expires. ISO 8601, UTC.
             */
            watchTokenExpiresAt: string;
            order: components["schemas"]["StatusEvent"];
        };
        /** @description Everything about one order, for the merchant. */
        Order: {
            order: components["schemas"]["StatusEvent"];
            payments: components["schemas"]["Payment"][];
            events: components["schemas"]["PastEvent"][];
            description: string | null;
            /** @description The phone is masked. */
            customer: {
                [key: string]: unknown;
            } | null;
            metadata: {
                [key: string]: unknown;
            } | null;
            /** @description Null if the order was opened without items, or they are erased. */
            items: components["schemas"]["Item"][] | null;
            /** @description The language of messages to the payer. */
            lang: ("en" | "sw" | "bn") | null;
        };
        /** @description One attempt to pay an order. */
        Payment: {
            /** Format: uuid */
            id: string;
            provider: string;
            /** @description 1 for the order's first attempt. */
            attempt: number;
            /**
             * Format: date-time
             * @description When the payment was stored. ISO 8601, UTC.
             */
            startedAt: string;
            /**
             * Format: date-time
             * @description When it expires without an outcome. ISO 8601, UTC.
             */
            expiresAt: string;
            /** @description The paid amount, once known, in the currency's minor unit. */
            amountPaidMinor?: number;
            /** @description The provider's proof of payment, once known. */
            receipt?: string;
            action?: components["schemas"]["Action"];
            /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
            live: boolean;
            status: components["schemas"]["Status"];
            reason?: components["schemas"]["Reason"];
            /** @description Masked. */
            phone?: string;
            /** @description The provider's own id of the payment. */
            reference?: string;
            /**
             * Format: date-time
             * @description When the money moved: the first evidence of it, also if a person accepted the payment later. ISO 8601, UTC.
             */
            paidAt?: string;
        };
        /** @description A state of the order's history. */
        PastEvent: {
            /**
             * Format: uuid
             * @description The order's uuid. Another uuid means another order, whose versions start at 1 again.
             */
            id: string;
            /** @description Your name for the order. */
            orderId: string;
            /** @description Grows when the database has lost commits, for example in a failover. Versions compare within one epoch. */
            epoch?: number;
            /** @description Starts at 1 and grows by one with every change. Keep the higher version, drop the others. */
            version: number;
            status: components["schemas"]["Status"];
            /** @description Whether the payer and the provider have nothing more to do. A late success or another attempt may still change the order. The order is paid only if `status` is `succeeded`; `review` waits for you. */
            settled: boolean;
            reason?: components["schemas"]["Reason"];
            /** @description The amount to pay, in the currency's minor unit. */
            amountMinor: number;
            /** @description ISO 4217. */
            currency: string;
            /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
            live: boolean;
            /** @description The attempt that caused this state. */
            payment: {
                /** Format: uuid */
                id: string;
                provider: string;
                /** @description 1 for the order's first attempt. */
                attempt: number;
                /**
                 * Format: date-time
                 * @description When the payment was stored. ISO 8601, UTC.
                 */
                startedAt: string;
                /**
                 * Format: date-time
                 * @description When it expires without an outcome. ISO 8601, UTC.
                 */
                expiresAt: string;
                /** @description The paid amount, once known, in the currency's minor unit. */
                amountPaidMinor?: number;
                /** @description The provider's proof of payment, once known. */
                receipt?: string;
                action?: components["schemas"]["Action"];
            };
            /** @description Other attempts of this order that were paid too. */
            alsoPaid?: string[];
            /** @description The payer's results, in the order in which they were added. Only a paid order has some. */
            results?: components["schemas"]["Result"][];
            /**
             * Format: date-time
             * @description When the order was opened. ISO 8601, UTC.
             */
            openedAt: string;
            /**
             * Format: date-time
             * @description When this state began; never earlier than the previous version. ISO 8601, UTC.
             */
            occurredAt: string;
            /**
             * Format: date-time
             * @description The server's time when it sent this state, for a countdown that does not depend on the device's clock. Only a watcher that asks for it with `clock` gets it, with the first state of a connection. ISO 8601, UTC.
             */
            sentAt?: string;
            /**
             * @description The source of the state; absent for the start of a payment.
             *
             *     - `webhook`: a webhook of the provider
             *     - `query`: the provider's answer to a query
             *     - `clock`: the deadline
             *     - `person`: a person's decision
             *     - `reply`: the provider's answer to our request for the money
             *     - `payer`: the payer's browser, after a query to the provider
             *     - `merchant`: your backend, which added or removed a result
             * @enum {string}
             */
            source?: "webhook" | "query" | "clock" | "person" | "reply" | "payer" | "merchant";
            /** @description The note of a person's decision. */
            note?: string;
        };
        Item: {
            name: string;
            quantity: number;
            /** @description The amount of one, in the currency's minor unit. */
            unitAmountMinor: number;
            sku?: string;
        };
        Decision: {
            /**
             * Format: uuid
             * @description The payment in review.
             */
            paymentId: string;
            /**
             * @description The decision.
             * @enum {string}
             */
            as: "succeeded" | "failed";
            /** @description The reason, stored in the order's history. */
            note: string;
        };
        Decided: {
            order: components["schemas"]["StatusEvent"];
        };
        WatchToken: {
            /** @description Allows to watch this order, and nothing else. */
            watchToken: string;
            /**
             * Format: date-time
             * @description When it expires. ISO 8601, UTC.
             */
            watchTokenExpiresAt: string;
        };
        OrderList: {
            data: components["schemas"]["StatusEvent"][];
            /** @description The `cursor` of the next page; null at the end. */
            nextCursor: string | null;
        };
        PaymentList: {
            data: components["schemas"]["ListedPayment"][];
            /** @description The `cursor` of the next page; null at the end. */
            nextCursor: string | null;
        };
        /** @description One attempt, outside its order. */
        ListedPayment: {
            /** Format: uuid */
            id: string;
            provider: string;
            /** @description 1 for the order's first attempt. */
            attempt: number;
            /**
             * Format: date-time
             * @description When the payment was stored. ISO 8601, UTC.
             */
            startedAt: string;
            /**
             * Format: date-time
             * @description When it expires without an outcome. ISO 8601, UTC.
             */
            expiresAt: string;
            /** @description The paid amount, once known, in the currency's minor unit. */
            amountPaidMinor?: number;
            /** @description The provider's proof of payment, once known. */
            receipt?: string;
            action?: components["schemas"]["Action"];
            /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
            live: boolean;
            status: components["schemas"]["Status"];
            reason?: components["schemas"]["Reason"];
            /** @description Masked. */
            phone?: string;
            /** @description The provider's own id of the payment. */
            reference?: string;
            /**
             * Format: date-time
             * @description When the money moved: the first evidence of it, also if a person accepted the payment later. ISO 8601, UTC.
             */
            paidAt?: string;
            /** @description Your name for the order. */
            orderId: string;
            /** @description The amount to pay, in the currency's minor unit. */
            amountMinor: number;
            /** @description ISO 4217. */
            currency: string;
        };
        /** @description Money that moved, added up. */
        Summary: {
            /**
             * Format: date-time
             * @description The beginning. ISO 8601, UTC.
             */
            from: string;
            /**
             * Format: date-time
             * @description The end. ISO 8601, UTC.
             */
            to: string;
            /** @enum {string} */
            by: "day" | "provider" | "currency" | "reason";
            timeZone: string;
            data: {
                /**
                 * Format: date
                 * @description With `by=day`: the day in `timeZone`.
                 */
                day?: string;
                /** @description With `by=provider`. */
                provider?: string;
                /** @description With `by=reason`: null for payments without a reason. */
                reason?: string | null;
                /** @description ISO 4217. */
                currency: string;
                /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
                live: boolean;
                payments: number;
                /** @description The money of these payments, without those of unknown amounts, in the currency's minor unit. */
                amountMinor: number;
                /** @description Payments whose amount in this currency is unknown: accepted mismatches. See their orders. */
                unknownAmounts: number;
            }[];
        };
        /** @description The provider's answer, and the state after it. */
        Asked: {
            /** @description What the provider said; null if it knows no outcome. */
            answer: {
                status: components["schemas"]["Status"];
                reason?: components["schemas"]["Reason"];
                receipt?: string;
                reference?: string;
                /** @description The amount that the provider states, in the currency's minor unit. */
                amountMinor?: number;
                /** @description ISO 4217. */
                currency?: string;
            } | null;
            /** @description Whether the answer changed the payment. A failure changes it only when a second answer confirms it. */
            changed: boolean;
            payment: components["schemas"]["ListedPayment"];
            order: components["schemas"]["StatusEvent"];
        };
        InboxWebhookList: {
            data: components["schemas"]["InboxWebhook"][];
            /** @description The `cursor` of the next page; null at the end. */
            nextCursor: string | null;
        };
        /** @description A webhook as it was stored. */
        InboxWebhook: {
            id: number;
            provider: string;
            /**
             * Format: date-time
             * @description When it arrived. ISO 8601, UTC.
             */
            receivedAt: string;
            /**
             * @description - `applied`: it changed the payment
             *     - `repeat`: it said nothing new
             *     - `hint`: it proved nothing, so the provider was asked
             *     - `unmatched`: no payment has its reference
             *     - `nothing`: it has no outcome of a payment
             *     - `error`: it could not be applied yet, and is tried again
             *     - `unreadable`: it could not be read
             *     - `refused`: its secret or signature was wrong
             * @enum {string}
             */
            result: "applied" | "repeat" | "hint" | "unmatched" | "nothing" | "error" | "unreadable" | "refused";
            /**
             * @description Why its content is trusted. `none`: it only caused a query.
             * @enum {string}
             */
            proof: "signature" | "secret" | "none";
            /** Format: uuid */
            paymentId?: string;
            orderId?: string;
            /** @description Why it was not applied. */
            error?: string;
            /** @description Without credentials, and masked like the body. */
            headers: {
                [key: string]: string;
            };
            /** @description The body, with phones, names and secrets masked. Null if it is erased, or of a form that cannot be masked. */
            body: string | null;
            /** @description The size of the stored body. */
            bytes: number;
        };
        Assignment: {
            /**
             * Format: uuid
             * @description The payment that the webhook is about.
             */
            paymentId: string;
        };
        /** @description The effect of the webhook, and the state after it. */
        AppliedWebhook: {
            /**
             * @description `hint`: the webhook proves nothing, so the provider is asked about the payment.
             * @enum {string}
             */
            result: "applied" | "repeat" | "hint" | "nothing";
            payment: components["schemas"]["ListedPayment"];
            order: components["schemas"]["StatusEvent"];
        };
        ResultRequest: {
            /** @description Your name for the result, unique within the order. The same id again replaces the result. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit. */
            id: string;
            /**
             * @description A voucher and a ticket need `code`, a link `url`, and a text `text`.
             * @enum {string}
             */
            kind: "voucher" | "ticket" | "link" | "text";
            title: string;
            /** @description What the payer shows or types. */
            code?: string;
            /**
             * Format: uri
             * @description https. Outside production also http on the node's own machine.
             */
            url?: string;
            text?: string;
            /**
             * Format: date-time
             * @description When the result is no longer valid.
             * @example 2026-11-21T00:00:00.000Z
             */
            expiresAt?: string;
        };
        ChangedResults: {
            order: components["schemas"]["StatusEvent"];
        };
        ProviderList: {
            data: {
                name: string;
                /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
                live: boolean;
                /** @description True for the built-in sandbox, whose test numbers decide how a payment ends. */
                sandbox: boolean;
                /** @description ISO 4217. */
                currencies: string[];
                /** @description ISO 3166-1 alpha-2. */
                countries: string[];
                /** @description Null if the provider uses no access token or none was fetched yet. */
                token: {
                    /**
                     * Format: date-time
                     * @description When the access token expires. ISO 8601, UTC.
                     */
                    expiresAt: string;
                } | null;
                /** @description Calls to the provider from all nodes that ended in the last 15 min. Calls of other nodes than the one that answers may be 5 s late. */
                calls: {
                    /** @description Requests for money. */
                    initiate: {
                        /** @description The number of calls that ended. */
                        count: number;
                        /** @description Calls without a usable answer. A declined payer is a usable answer. */
                        errors: number;
                        /** @description Median duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p50Ms: number | null;
                        /** @description 99th percentile of the duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p99Ms: number | null;
                    };
                    /** @description Requests to take the money that a payer approved on the provider's page. */
                    complete: {
                        /** @description The number of calls that ended. */
                        count: number;
                        /** @description Calls without a usable answer. A declined payer is a usable answer. */
                        errors: number;
                        /** @description Median duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p50Ms: number | null;
                        /** @description 99th percentile of the duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p99Ms: number | null;
                    };
                    /** @description Queries about payments. */
                    confirm: {
                        /** @description The number of calls that ended. */
                        count: number;
                        /** @description Calls without a usable answer. A declined payer is a usable answer. */
                        errors: number;
                        /** @description Median duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p50Ms: number | null;
                        /** @description 99th percentile of the duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p99Ms: number | null;
                    };
                    /** @description Requests for access tokens. */
                    token: {
                        /** @description The number of calls that ended. */
                        count: number;
                        /** @description Calls without a usable answer. A declined payer is a usable answer. */
                        errors: number;
                        /** @description Median duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p50Ms: number | null;
                        /** @description 99th percentile of the duration, in milliseconds, rounded to two digits. Null if there was no call. */
                        p99Ms: number | null;
                    };
                };
                /** @description The share of succeeded payments among the settled ones that were started in the last 24 h, on any node. A person's decision counts; a payment in review counts as not succeeded. Null if there is no such payment. */
                succeededShare: number | null;
            }[];
        };
        AccessToken: {
            expiresAt: string | null;
        };
        DoctorReport: {
            /**
             * @description The worst of all checks.
             * @enum {string}
             */
            status: "ok" | "warning" | "error";
            /**
             * Format: date-time
             * @description When the examination began. ISO 8601, UTC.
             */
            checkedAt: string;
            /** @description The node that examined: host and port. Checks of its network, disk and clock are about this node. */
            node: string;
            data: {
                /** @description Stable, such as `provider.daraja` or `database.connections`. */
                id: string;
                /** @description The subject, for people. */
                name: string;
                /** @enum {string} */
                status: "ok" | "warning" | "error";
                /** @description What was found, in a sentence or two. */
                message: string;
                /** @description What to do about it. Present unless the check is `ok`. */
                action?: string;
            }[];
        };
        EndpointDraft: {
            /** @description An https URL. Outside production also http on this machine. */
            url: string;
            /** @description The types to send. Null or absent: all but `order.pending` and `order.processing`. */
            events?: ("order.pending" | "order.processing" | "order.succeeded" | "order.failed" | "order.expired" | "order.review" | "order.updated" | "endpoint.disabled" | "paymentLink.open" | "paymentLink.paid" | "paymentLink.cancelled" | "paymentLink.expired" | "plan.active" | "plan.started" | "plan.past_due" | "plan.paused" | "plan.completed" | "plan.cancelled" | "plan.updated")[] | null;
            description?: string | null;
        };
        EndpointWithSecret: {
            endpoint: components["schemas"]["Endpoint"];
            /** @description `whsec_…`, for the library of Standard Webhooks. Shown only here. */
            secret: string;
        };
        /** @description A URL of your backend that receives events. */
        Endpoint: {
            /** Format: uuid */
            id: string;
            url: string;
            description?: string;
            /** @description Null: all types but `order.pending` and `order.processing`. */
            events: string[] | null;
            enabled: boolean;
            /**
             * @description `gone`: it answered 410. `failing`: no success for five days. `environment`: `ENDPOINT_URL` is not set.
             * @enum {string}
             */
            disabledBecause?: "merchant" | "gone" | "failing" | "environment";
            /** @description Grows with every change of the endpoint. */
            version: number;
            /**
             * Format: date-time
             * @description The first failed attempt since the last successful one. ISO 8601, UTC.
             */
            failingSince?: string;
            /**
             * Format: date-time
             * @description When it was created. ISO 8601, UTC.
             */
            createdAt: string;
            /**
             * Format: date-time
             * @description When it was changed last. ISO 8601, UTC.
             */
            changedAt: string;
        };
        EndpointList: {
            data: components["schemas"]["Endpoint"][];
        };
        EndpointAnswer: {
            endpoint: components["schemas"]["Endpoint"];
        };
        EndpointChange: {
            /** @description An https URL. Outside production also http on this machine. */
            url?: string;
            /** @description The types to send. Null or absent: all but `order.pending` and `order.processing`. */
            events?: ("order.pending" | "order.processing" | "order.succeeded" | "order.failed" | "order.expired" | "order.review" | "order.updated" | "endpoint.disabled" | "paymentLink.open" | "paymentLink.paid" | "paymentLink.cancelled" | "paymentLink.expired" | "plan.active" | "plan.started" | "plan.past_due" | "plan.paused" | "plan.completed" | "plan.cancelled" | "plan.updated")[] | null;
            description?: string | null;
            /** @description True resumes what is due, also after the last attempt. */
            enabled?: boolean;
        };
        Ping: {
            /** @description Whether the answer was 2xx within 15 s. */
            delivered: boolean;
            httpStatus?: number;
            durationMs: number;
            /** @description The first 1 KiB of the answer. */
            answer?: string;
            error?: string;
        };
        DeliveryPage: {
            data: components["schemas"]["Delivery"][];
            nextCursor: string | null;
        };
        Delivery: {
            /** @description The `webhook-id`: `<uuid of the order>.<epoch>.<version>`. */
            id: string;
            /** @description Absent if it was never sent. */
            type?: string;
            orderId?: string;
            version: number;
            /**
             * @description `pending`: due, or exhausted if it has no `nextAttemptAt`. `superseded`: a newer version replaced it.
             * @enum {string}
             */
            status: "pending" | "delivered" | "failed" | "superseded";
            /** @description 1 for the first attempt. Of a pending delivery: the failed attempts so far. */
            attempt?: number;
            /**
             * Format: date-time
             * @description When the attempt ended. ISO 8601, UTC.
             */
            at?: string;
            /**
             * Format: date-time
             * @description When the next attempt is due. ISO 8601, UTC.
             */
            nextAttemptAt?: string;
            httpStatus?: number;
            durationMs?: number;
            /** @description The first 1 KiB of the answer. */
            answer?: string;
            error?: string;
            sms?: components["schemas"]["SentSms"];
        };
        /** @description What became of an SMS that the attempt sent. */
        SentSms: {
            /**
             * Format: uuid
             * @description Of the text: the `id` in the request to a gateway of your own.
             */
            id: string;
            /**
             * @description `accepted`: the gateway took it. `delivered`, `failed`: as the gateway reported. `unknown`: its answer was lost.
             * @enum {string}
             */
            status: "accepted" | "delivered" | "failed" | "unknown";
            /** @description The messages that the gateway charges. */
            parts?: number;
            /**
             * Format: date-time
             * @description When the gateway reported the status. ISO 8601, UTC.
             */
            reportedAt?: string;
        };
        Replay: {
            /**
             * Format: date-time
             * @description Orders that changed at this time or later. Required without `orderId`.
             */
            since?: string;
            /**
             * Format: date-time
             * @description Orders that changed before this time.
             */
            until?: string;
            /** @description This order; without `since`, whenever it changed. */
            orderId?: string;
            /**
             * @description Orders with this status now.
             * @enum {string}
             */
            status?: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
        };
        ReplayAnswer: {
            count: number;
        };
        /** @description One version of one order, as the merchant sees it. */
        Event: {
            /** @description The `webhook-id`. */
            id: string;
            /** @enum {string} */
            type: "order.pending" | "order.processing" | "order.succeeded" | "order.failed" | "order.expired" | "order.review" | "order.updated" | "endpoint.disabled" | "paymentLink.open" | "paymentLink.paid" | "paymentLink.cancelled" | "paymentLink.expired" | "plan.active" | "plan.started" | "plan.past_due" | "plan.paused" | "plan.completed" | "plan.cancelled" | "plan.updated";
            /**
             * Format: date-time
             * @description When the state began. ISO 8601, UTC.
             */
            timestamp: string;
            data: {
                order: components["schemas"]["MerchantOrder"];
            };
        };
        /** @description A state of an order with what only its merchant may see. */
        MerchantOrder: {
            /**
             * Format: uuid
             * @description The order's uuid. Another uuid means another order, whose versions start at 1 again.
             */
            id: string;
            /** @description Your name for the order. */
            orderId: string;
            /** @description Grows when the database has lost commits, for example in a failover. Versions compare within one epoch. */
            epoch?: number;
            /** @description Starts at 1 and grows by one with every change. Keep the higher version, drop the others. */
            version: number;
            status: components["schemas"]["Status"];
            /** @description Whether the payer and the provider have nothing more to do. A late success or another attempt may still change the order. The order is paid only if `status` is `succeeded`; `review` waits for you. */
            settled: boolean;
            reason?: components["schemas"]["Reason"];
            /** @description The amount to pay, in the currency's minor unit. */
            amountMinor: number;
            /** @description ISO 4217. */
            currency: string;
            /** @description False for the sandbox and for a provider's own test environment, where no money moves. */
            live: boolean;
            /** @description The attempt that caused this state. */
            payment: {
                /** Format: uuid */
                id: string;
                provider: string;
                /** @description 1 for the order's first attempt. */
                attempt: number;
                /**
                 * Format: date-time
                 * @description When the payment was stored. ISO 8601, UTC.
                 */
                startedAt: string;
                /**
                 * Format: date-time
                 * @description When it expires without an outcome. ISO 8601, UTC.
                 */
                expiresAt: string;
                /** @description The paid amount, once known, in the currency's minor unit. */
                amountPaidMinor?: number;
                /** @description The provider's proof of payment, once known. */
                receipt?: string;
                action?: components["schemas"]["Action"];
            };
            /** @description Other attempts of this order that were paid too. */
            alsoPaid?: string[];
            /** @description The payer's results, in the order in which they were added. Only a paid order has some. */
            results?: components["schemas"]["Result"][];
            /**
             * Format: date-time
             * @description When the order was opened. ISO 8601, UTC.
             */
            openedAt: string;
            /**
             * Format: date-time
             * @description When this state began; never earlier than the previous version. ISO 8601, UTC.
             */
            occurredAt: string;
            /**
             * Format: date-time
             * @description The server's time when it sent this state, for a countdown that does not depend on the device's clock. Only a watcher that asks for it with `clock` gets it, with the first state of a connection. ISO 8601, UTC.
             */
            sentAt?: string;
            /**
             * @description The source of the state; absent for the start of a payment.
             *
             *     - `webhook`: a webhook of the provider
             *     - `query`: the provider's answer to a query
             *     - `clock`: the deadline
             *     - `person`: a person's decision
             *     - `reply`: the provider's answer to our request for the money
             *     - `payer`: the payer's browser, after a query to the provider
             *     - `merchant`: your backend, which added or removed a result
             * @enum {string}
             */
            source?: "webhook" | "query" | "clock" | "person" | "reply" | "payer" | "merchant";
            /** @description The note of a person's decision. */
            note?: string;
            description?: string;
            customer?: {
                [key: string]: unknown;
            };
            metadata?: {
                [key: string]: unknown;
            };
            items?: components["schemas"]["Item"][];
            /** @enum {string} */
            lang?: "en" | "sw" | "bn";
        };
        PaymentLinkRequest: {
            /** @description The id of the order that the link opens, unique among orders and links. At most 48 characters. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit. */
            orderId: string;
            /** @description In the currency's minor unit. Required, unless the link is reusable: then the payer enters the amount. */
            amountMinor?: number | null;
            /** @description ISO 4217; a currency of the provider. */
            currency: string;
            /** @description What the payer pays for. The page shows it. */
            description?: string | null;
            /** @description What the order is for; their sum is `amountMinor`. The page shows them. */
            items?: {
                name: string;
                quantity: number;
                /** @description The amount of one, in the currency's minor unit. */
                unitAmountMinor: number;
                /** @description Your stock keeping unit. */
                sku?: string;
            }[] | null;
            /** @description Visible with the API key only; the page does not show it. */
            customer?: {
                /** @description Your id for the payer. */
                id?: string;
                name?: string;
                /** Format: email */
                email?: string;
                /** @description For messages to the payer. E.164, or as dialled in the provider's own country; masked in answers. */
                phone?: string;
            } | null;
            /** @description The providers that the page offers. By default all that take the currency and the amount. */
            providers?: string[] | null;
            /** @description Your page, to which the page has a link once the order is paid. */
            returnUrl?: string | null;
            /** @description When the link expires. By default it does not. */
            expiresAt?: string | null;
            /** @description When the money is due, for your own use. */
            dueAt?: string | null;
            /** @description The language of the page. By default that of the payer's browser. */
            lang?: ("en" | "sw" | "bn") | null;
            metadata?: {
                [key: string]: unknown;
            } | null;
            /** @description The link takes many payments. Each opens an order of its own, `<orderId>-<n>`. `minMinor` and `maxMinor` limit the amount that the payer enters. */
            reusable?: {
                /** @description In the currency's minor unit. Daraja takes whole shillings: multiples of 100. */
                minMinor?: number;
                /** @description In the currency's minor unit. Daraja takes whole shillings: multiples of 100. */
                maxMinor?: number;
            } | null;
        };
        PaymentLinkAnswer: {
            paymentLink: components["schemas"]["PaymentLink"];
        };
        /** @description A page on which a payer pays an order. */
        PaymentLink: {
            /** Format: uuid */
            id: string;
            /** @description The id of its order; a reusable link's orders are `<orderId>-<n>`. */
            orderId: string;
            /** @description Starts at 1 and grows by one with every change of the status. */
            version: number;
            /**
             * @description Only an `open` link starts payments. A link becomes `paid` when its order succeeds, also after it was `cancelled` or has `expired`.
             * @enum {string}
             */
            status: "open" | "paid" | "cancelled" | "expired";
            /**
             * Format: uri
             * @description The address of its page. Absent if this node cannot decrypt it, because a `TUKIO_SECRET` is missing.
             */
            url?: string;
            /** @description Absent if the payer enters the amount, in the currency's minor unit. */
            amountMinor?: number;
            /** @description ISO 4217. */
            currency: string;
            description?: string;
            items?: components["schemas"]["Item"][];
            /** @description The phone is masked. */
            customer?: {
                [key: string]: unknown;
            };
            metadata?: {
                [key: string]: unknown;
            };
            /** @description Absent: all that take the currency and the amount. */
            providers?: string[];
            returnUrl?: string;
            /** @enum {string} */
            lang?: "en" | "sw" | "bn";
            /** @description Present if the link takes many payments. */
            reusable?: {
                /** @description The least amount, in the currency's minor unit. */
                minMinor?: number;
                /** @description The most, in the currency's minor unit. */
                maxMinor?: number;
            };
            /**
             * Format: date-time
             * @description When it expires. ISO 8601, UTC.
             */
            expiresAt?: string;
            /**
             * Format: date-time
             * @description When the money is due, for your own use. ISO 8601, UTC.
             */
            dueAt?: string;
            /**
             * Format: date-time
             * @description When it was created. ISO 8601, UTC.
             */
            createdAt: string;
            /**
             * Format: date-time
             * @description When its status changed last. ISO 8601, UTC.
             */
            changedAt: string;
        };
        PaymentLinkPage: {
            data: components["schemas"]["PaymentLink"][];
            nextCursor: string | null;
        };
        PlanRequest: {
            /** @description Your name for the plan, unique. At most 40 characters. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit. */
            planId: string;
            /**
             * @description `instalments`: a sum that is paid in parts. `subscription`: may be endless.
             * @enum {string}
             */
            kind: "instalments" | "subscription";
            /** @description Has an `id` or a `phone`. Visible with the API key only. */
            customer: {
                /** @description Your id for the payer. */
                id?: string;
                name?: string;
                /** Format: email */
                email?: string;
                /** @description For messages to the payer. E.164, or as dialled in the provider's own country; masked in answers. */
                phone?: string;
            };
            /** @description The only provider of the instalments. By default the payer chooses. */
            provider?: string | null;
            /** @description ISO 4217; a currency of the provider. */
            currency: string;
            /** @description What the payer pays for. The pages of the instalments show it. */
            description?: string | null;
            /** @description Either `every` and an amount, or `instalments`. */
            schedule: {
                /** @description Of each instalment, in the currency's minor unit. */
                amountMinor?: number | null;
                /** @description Instead of `amountMinor`: of all instalments together. It is split as evenly as the provider's smallest step allows, the larger ones first. */
                totalMinor?: number | null;
                /** @description The time between two instalments: one of the three. A plan of months that begins on the last day of a month stays there. */
                every?: {
                    days?: number;
                    weeks?: number;
                    months?: number;
                } | null;
                /** @description The number of instalments. By default a subscription is endless. */
                count?: number | null;
                /** @description When the first instalment is due, at most a day ago. The others are due at its local time. */
                firstDueAt?: string | null;
                /** @description Instead of all other fields: each instalment, in the order of their times. */
                instalments?: {
                    /** Format: date-time */
                    dueAt: string;
                    /** @description In the currency's minor unit. Daraja takes whole shillings: multiples of 100. */
                    amountMinor: number;
                }[] | null;
            };
            /** @description When the customer is prompted on a day, from 08:00 to 20:00 in the plan's time zone. Default: 09:00. */
            promptAt?: string | null;
            /** @description The calendar of the plan. By default that of the currency's country. */
            timeZone?: string | null;
            /** @description Days before an instalment is due. Default: 3 and 0. */
            remindDaysBefore?: number[] | null;
            /** @description The plan is `past_due` once an instalment is unpaid for so many days after it was due. Default: 3. */
            graceDays?: number | null;
            /** @description The language of the pages. By default that of the payer's browser. */
            lang?: ("en" | "sw" | "bn") | null;
            metadata?: {
                [key: string]: unknown;
            } | null;
        };
        PlanAnswer: {
            plan: components["schemas"]["Plan"];
        };
        /** @description Instalments that a customer pays over time. Each is a payment link. */
        Plan: {
            /** Format: uuid */
            id: string;
            planId: string;
            /** @description Starts at 1 and grows by one with every change, also of an instalment. */
            version: number;
            /**
             * @description `past_due`: an instalment is unpaid after its days of grace. `completed`: all are paid. A `cancelled` plan is completed by late money only.
             * @enum {string}
             */
            status: "active" | "past_due" | "completed" | "cancelled" | "paused";
            /** @enum {string} */
            kind: "instalments" | "subscription";
            /** @description ISO 4217. */
            currency: string;
            /** @description The paid instalments, in the currency's minor unit. */
            paidMinor: number;
            /** @description The open instalments; absent for an endless plan, in the currency's minor unit. */
            remainingMinor?: number;
            /** @description In the order of their numbers. Of an endless plan those that exist, and the newest 120 of them. */
            instalments: components["schemas"]["Instalment"][];
            /**
             * Format: uri
             * @description The address of the payer's page of the plan. Absent if this node cannot decrypt it, and for a second after an upgrade from a version without these pages.
             */
            url?: string;
            /** @description The phone is masked. */
            customer?: {
                [key: string]: unknown;
            };
            /** @description Absent: the payer chooses. */
            provider?: string;
            description?: string;
            metadata?: {
                [key: string]: unknown;
            };
            /** @enum {string} */
            lang?: "en" | "sw" | "bn";
            /** @description Absent if the instalments were given one by one. */
            schedule?: {
                /** @description Of each instalment, in the currency's minor unit. */
                amountMinor?: number;
                /** @description Of all instalments together, in the currency's minor unit. */
                totalMinor?: number;
                every: {
                    days?: number;
                    weeks?: number;
                    months?: number;
                };
                /** @description Absent: endless. */
                count?: number;
                /**
                 * Format: date-time
                 * @description When the first instalment is due. ISO 8601, UTC.
                 */
                firstDueAt: string;
            };
            timeZone: string;
            /** @description A time of day in `timeZone`. */
            promptAt: string;
            remindDaysBefore: number[];
            graceDays: number;
            /**
             * Format: date-time
             * @description When the first instalment was paid. ISO 8601, UTC.
             */
            startedAt?: string;
            /**
             * Format: date-time
             * @description When it was created. ISO 8601, UTC.
             */
            createdAt: string;
            /**
             * Format: date-time
             * @description When it changed last. ISO 8601, UTC.
             */
            changedAt: string;
        };
        Instalment: {
            /** @description Starts at 1. An endless plan skips a number whose order id is taken. */
            n: number;
            /**
             * Format: date-time
             * @description When it is due. ISO 8601, UTC.
             */
            dueAt: string;
            /** @description What it costs, in the currency's minor unit. */
            amountMinor: number;
            /**
             * @description That of its payment link.
             * @enum {string}
             */
            status: "open" | "paid" | "cancelled" | "expired";
            /** @description The id of the order that has paid it, else of the one that its page opens, `<planId>-<n>`. */
            orderId: string;
            /**
             * Format: uri
             * @description The address of its page. Absent if this node cannot decrypt it, because a `TUKIO_SECRET` is missing.
             */
            url?: string;
        };
        PlanPage: {
            data: components["schemas"]["Plan"][];
            nextCursor: string | null;
        };
        ClockRequest: {
            /** @description How far the time moves: an ISO 8601 duration. At most ten years in total. */
            advance: string;
        };
        ClockAnswer: {
            /**
             * Format: date-time
             * @description The time of plans now. ISO 8601, UTC.
             */
            now: string;
        };
        NotificationList: {
            data: components["schemas"]["Notification"][];
        };
        /** @description A message to a person about an event. */
        Notification: {
            /** @enum {string} */
            name: "receipt" | "sms" | "alert";
            /** @description Whether it is sent about live payments. Those of test payments stay in the sandbox's inbox and phone. */
            live: boolean;
            /** @description The types of events that it is sent for. */
            events: string[];
            /**
             * Format: date-time
             * @description The first failed attempt since the last successful one. ISO 8601, UTC.
             */
            failingSince?: string;
            /**
             * Format: uri
             * @description The URL for the SMS gateway's delivery reports, to enter in its dashboard. It contains a secret: only for keys with the scope `manage`.
             */
            reportUrl?: string;
        };
        OrderNotificationList: {
            data: components["schemas"]["OrderNotification"][];
        };
        /** @description What one notification has sent about one order. */
        OrderNotification: {
            /** @enum {string} */
            name: "receipt" | "sms" | "alert";
            /** @description The latest attempt. */
            latest?: components["schemas"]["Delivery"];
            /** @description The next attempt. */
            pending?: components["schemas"]["Delivery"];
        };
        NotificationTest: {
            /** @description An email address; `MERCHANT_EMAIL` by default. For `sms`: a phone with `+` and its country code. */
            to?: string;
        };
        NotificationTestResult: {
            /** @description Whether the mail server or the gateway took it within 15 s. */
            delivered: boolean;
            /** @description Whether it left the sandbox. */
            live: boolean;
            durationMs: number;
            /** @description The words of the mail server, or the gateway's id of the SMS. */
            answer?: string;
            error?: string;
        };
        ApiKeyDraft: {
            /** @description What uses the key, such as `checkout server`. */
            name: string;
            /** @description `read`: every GET. `pay`: start payments, links and plans, and change what belongs to them. `manage`: decisions, endpoints, keys, and sending again. */
            scopes: ("read" | "pay" | "manage")[];
        };
        ApiKeyWithSecret: {
            key: components["schemas"]["ApiKey"];
            /** @description `tukio_key_…`. Send it as `Authorization: Bearer`. Shown only here. */
            secret: string;
        };
        /** @description An API key, without its secret. */
        ApiKey: {
            /** Format: uuid */
            id: string;
            name: string;
            /** @description `read`: every GET. `pay`: start payments, links and plans, and change what belongs to them. `manage`: decisions, endpoints, keys, and sending again. */
            scopes: ("read" | "pay" | "manage")[];
            /**
             * Format: date-time
             * @description When it was created. ISO 8601, UTC.
             */
            createdAt: string;
        };
        ApiKeyList: {
            data: components["schemas"]["ApiKey"][];
        };
        AuditPage: {
            data: components["schemas"]["AuditEntry"][];
            nextCursor: string | null;
        };
        /** @description A change that was made with an API key. */
        AuditEntry: {
            /**
             * Format: date-time
             * @description When the change was made. ISO 8601, UTC.
             */
            at: string;
            /** @description The operation, by its id in the API docs. */
            operation: string;
            key: {
                /** @description A uuid, or `TUKIO_API_KEY`. */
                id: string;
                name: string;
            };
            /** @description Made in the desk. */
            desk: boolean;
            /** @description What was changed: the id of an order, payment link, plan, endpoint or key, or the name of a provider or notification. */
            subject?: string;
            /** @description False: the node that began the change has not recorded its end. It may have been made. */
            done: boolean;
        };
        SignIn: {
            /** @description An API key. */
            key: string;
        };
        /** @description A session of the desk. */
        DeskSession: {
            /** @description The name of the session's key. */
            name: string;
            /** @description `read`: every GET. `pay`: start payments, links and plans, and change what belongs to them. `manage`: decisions, endpoints, keys, and sending again. */
            scopes: ("read" | "pay" | "manage")[];
            /**
             * Format: date-time
             * @description When the session ends. ISO 8601, UTC.
             */
            expiresAt: string;
        };
        PlanPaymentRequest: {
            /** @description Pays all open instalments up to this one, in one order. By default the oldest open one. */
            n?: number | null;
            /** @description If the plan has none. By default the first one of `GET /v1/providers` that can prompt for the amount. */
            provider?: string | null;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    listPrompts: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The phone. Only its last nine digits are compared.
                 * @example 254712345600
                 */
                msisdn: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The open prompts and the latest 50 SMS, oldest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "prompts": [
                     *         {
                     *           "id": "5c0f7a52-6b0e-4f0b-9c58-0a4b0f5e9d11",
                     *           "phone": "+254712345600",
                     *           "provider": "daraja",
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "merchant": "Sandbox Merchant",
                     *           "account": "ORD-1001",
                     *           "description": "2 tickets"
                     *         }
                     *       ],
                     *       "answersItself": false,
                     *       "sms": [
                     *         {
                     *           "id": "0c2d9a53-6b0f-4b52-9d36-0f0c7a0c4a11",
                     *           "phone": "+254712345601",
                     *           "from": "AFRICASTKNG",
                     *           "text": "KES 150.00 paid to pay.example. M-Pesa receipt NLJ7RT61SV. Code: TUK-7F3A-91C2",
                     *           "at": "2026-11-20T21:14:06.120Z"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["Prompts"];
                };
            };
        };
    };
    answerPrompt: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The prompt.
                 * @example 5c0f7a52-6b0e-4f0b-9c58-0a4b0f5e9d11
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PromptAnswer"];
            };
        };
        responses: {
            /** @description The prompt is answered. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "5c0f7a52-6b0e-4f0b-9c58-0a4b0f5e9d11",
                     *       "answer": "approve"
                     *     }
                     */
                    "application/json": components["schemas"]["AnsweredPrompt"];
                };
            };
        };
    };
    listPayments: {
        parameters: {
            query?: {
                /**
                 * @description Only payments with this status now.
                 * @example succeeded
                 */
                status?: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
                /**
                 * @description Only payments with this provider.
                 * @example daraja
                 */
                provider?: string;
                /**
                 * @description Only payments of this order.
                 * @example ORD-1001
                 */
                orderId?: string;
                /**
                 * @description Only payments with this reason now.
                 * @example late
                 */
                reason?: "cancelled" | "insufficient_funds" | "wrong_pin" | "declined" | "limit" | "busy" | "provider_error" | "rejected" | "no_response" | "deadline" | "late" | "amount_mismatch" | "currency_mismatch" | "receipt_reused" | "paid_twice";
                /**
                 * @description Started at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                from?: string;
                /**
                 * @description Started before.
                 * @example 2027-11-20T00:00:00Z
                 */
                to?: string;
                /**
                 * @description The money moved at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                paidFrom?: string;
                /**
                 * @description The money moved before.
                 * @example 2027-11-20T00:00:00Z
                 */
                paidTo?: string;
                /**
                 * @description The provider's proof of the money, also in small letters.
                 * @example NLJ7RT61SV
                 */
                receipt?: string;
                /**
                 * @description The phone that was asked for the money, in any form: a local number is one of any country of the enabled providers. Found until it is erased.
                 * @example 0712 345 601
                 */
                phone?: string;
                /**
                 * @description The provider's own id of the payment.
                 * @example ws_CO_191220191020363925
                 */
                reference?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Payments in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "live": true,
                     *           "status": "succeeded",
                     *           "phone": "+2547*****601",
                     *           "reference": "ws_CO_20112026205932104712345601",
                     *           "receipt": "NLJ7RT61SV",
                     *           "amountPaidMinor": 15000,
                     *           "paidAt": "2026-11-20T21:00:00.123Z",
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "orderId": "ORD-1001",
                     *           "amountMinor": 15000,
                     *           "currency": "KES"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["PaymentList"];
                };
            };
        };
    };
    startPayment: {
        parameters: {
            query?: never;
            header?: {
                /** @description Quoted or bare, such as `cart-7f3a`; kept for 72 h. A request with the same key and body gets the current state; one with another body is refused. */
                "Idempotency-Key"?: string;
                /**
                 * @description `wait=N` (RFC 7240): waits for the provider's answer, for N seconds at most, up to 15.
                 * @example wait=5
                 */
                Prefer?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PaymentRequest"];
            };
        };
        responses: {
            /** @description The order's current state, and a token to watch it. */
            202: {
                headers: {
                    /** @description `true` when the key was used before with the same body. */
                    "Idempotency-Replayed"?: "true";
                    /** @description The wait that was granted. */
                    "Preference-Applied"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 1,
                     *         "status": "pending",
                     *         "settled": false,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T20:59:31.000Z"
                     *       },
                     *       "watchToken": "eyJhbGciOiJIUzI1NiJ9.eyJvcmRlciI6Ik9SRC0xMDAxIn0.c2lnbmF0dXJl",
                     *       "watchTokenExpiresAt": "2026-11-21T20:59:31.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["StartedPayment"];
                };
            };
        };
    };
    readOrder: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description `Order` with an API key, `StatusEvent` with a watch token. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 3,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:00.123Z"
                     *       },
                     *       "payments": [
                     *         {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "live": true,
                     *           "status": "succeeded",
                     *           "phone": "+2547*****601",
                     *           "reference": "ws_CO_20112026205932104712345601",
                     *           "receipt": "NLJ7RT61SV",
                     *           "amountPaidMinor": 15000,
                     *           "paidAt": "2026-11-20T21:00:00.123Z",
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z"
                     *         }
                     *       ],
                     *       "events": [
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *           "orderId": "ORD-1001",
                     *           "epoch": 0,
                     *           "version": 1,
                     *           "status": "pending",
                     *           "settled": false,
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "live": true,
                     *           "payment": {
                     *             "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *             "provider": "daraja",
                     *             "attempt": 1,
                     *             "startedAt": "2026-11-20T20:59:31.000Z",
                     *             "expiresAt": "2026-11-20T21:01:31.000Z"
                     *           },
                     *           "openedAt": "2026-11-20T20:59:31.000Z",
                     *           "occurredAt": "2026-11-20T20:59:31.000Z"
                     *         },
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *           "orderId": "ORD-1001",
                     *           "epoch": 0,
                     *           "version": 2,
                     *           "status": "processing",
                     *           "settled": false,
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "live": true,
                     *           "payment": {
                     *             "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *             "provider": "daraja",
                     *             "attempt": 1,
                     *             "startedAt": "2026-11-20T20:59:31.000Z",
                     *             "expiresAt": "2026-11-20T21:01:31.000Z",
                     *             "action": {
                     *               "type": "prompt",
                     *               "phone": "+2547*****601"
                     *             }
                     *           },
                     *           "openedAt": "2026-11-20T20:59:31.000Z",
                     *           "occurredAt": "2026-11-20T20:59:32.204Z"
                     *         },
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *           "orderId": "ORD-1001",
                     *           "epoch": 0,
                     *           "version": 3,
                     *           "status": "succeeded",
                     *           "settled": true,
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "live": true,
                     *           "payment": {
                     *             "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *             "provider": "daraja",
                     *             "attempt": 1,
                     *             "startedAt": "2026-11-20T20:59:31.000Z",
                     *             "expiresAt": "2026-11-20T21:01:31.000Z",
                     *             "amountPaidMinor": 15000,
                     *             "receipt": "NLJ7RT61SV"
                     *           },
                     *           "openedAt": "2026-11-20T20:59:31.000Z",
                     *           "occurredAt": "2026-11-20T21:00:00.123Z"
                     *         }
                     *       ],
                     *       "description": "2 tickets",
                     *       "customer": {
                     *         "name": "Asha Njeri",
                     *         "phone": "+2547*****601"
                     *       },
                     *       "metadata": null,
                     *       "items": [
                     *         {
                     *           "name": "Ticket",
                     *           "quantity": 2,
                     *           "unitAmountMinor": 7500
                     *         }
                     *       ],
                     *       "lang": "sw"
                     *     }
                     */
                    "application/json": components["schemas"]["Order"] | components["schemas"]["StatusEvent"];
                };
            };
        };
    };
    resolveReview: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Decision"];
            };
        };
        responses: {
            /** @description The order after the decision. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 4,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 10000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:14:05.770Z",
                     *         "reason": "amount_mismatch"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Decided"];
                };
            };
        };
    };
    issueWatchToken: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A token for this order. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "watchToken": "eyJhbGciOiJIUzI1NiJ9.eyJvcmRlciI6Ik9SRC0xMDAxIn0.c2lnbmF0dXJl",
                     *       "watchTokenExpiresAt": "2026-11-21T20:59:31.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["WatchToken"];
                };
            };
        };
    };
    listOrders: {
        parameters: {
            query?: {
                /**
                 * @description Only orders with this status now.
                 * @example succeeded
                 */
                status?: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
                /**
                 * @description Only orders whose latest state comes from this provider.
                 * @example daraja
                 */
                provider?: string;
                /**
                 * @description Only orders with this reason now.
                 * @example late
                 */
                reason?: "cancelled" | "insufficient_funds" | "wrong_pin" | "declined" | "limit" | "busy" | "provider_error" | "rejected" | "no_response" | "deadline" | "late" | "amount_mismatch" | "currency_mismatch" | "receipt_reused" | "paid_twice";
                /**
                 * @description Opened at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                from?: string;
                /**
                 * @description Opened before.
                 * @example 2027-11-20T00:00:00Z
                 */
                to?: string;
                /**
                 * @description The money moved at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                paidFrom?: string;
                /**
                 * @description The money moved before.
                 * @example 2027-11-20T00:00:00Z
                 */
                paidTo?: string;
                /**
                 * @description The provider's proof of the money, also in small letters.
                 * @example NLJ7RT61SV
                 */
                receipt?: string;
                /**
                 * @description The phone that was asked for the money, in any form: a local number is one of any country of the enabled providers. Found until it is erased.
                 * @example 0712 345 601
                 */
                phone?: string;
                /**
                 * @description The customer's `id`, or `email` in any case. Found until it is erased.
                 * @example C-417
                 */
                customer?: string;
                /**
                 * @description Only orders on which a person must act: in review, paid twice, paid while another payment is in review, and paid with a mismatch that nobody has accepted.
                 * @example true
                 */
                needsAttention?: true;
                /**
                 * @description Only orders that changed at or after this time, by time of change: a feed.
                 * @example 2026-11-20T00:00:00Z
                 */
                changedSince?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Orders in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *           "orderId": "ORD-1001",
                     *           "epoch": 0,
                     *           "version": 3,
                     *           "status": "succeeded",
                     *           "settled": true,
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "live": true,
                     *           "payment": {
                     *             "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *             "provider": "daraja",
                     *             "attempt": 1,
                     *             "startedAt": "2026-11-20T20:59:31.000Z",
                     *             "expiresAt": "2026-11-20T21:01:31.000Z",
                     *             "amountPaidMinor": 15000,
                     *             "receipt": "NLJ7RT61SV"
                     *           },
                     *           "openedAt": "2026-11-20T20:59:31.000Z",
                     *           "occurredAt": "2026-11-20T21:00:00.123Z"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["OrderList"];
                };
            };
        };
    };
    exportOrders: {
        parameters: {
            query?: {
                /**
                 * @description Only orders with this status now.
                 * @example succeeded
                 */
                status?: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
                /**
                 * @description Only orders whose latest state comes from this provider.
                 * @example daraja
                 */
                provider?: string;
                /**
                 * @description Only orders with this reason now.
                 * @example late
                 */
                reason?: "cancelled" | "insufficient_funds" | "wrong_pin" | "declined" | "limit" | "busy" | "provider_error" | "rejected" | "no_response" | "deadline" | "late" | "amount_mismatch" | "currency_mismatch" | "receipt_reused" | "paid_twice";
                /**
                 * @description Opened at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                from?: string;
                /**
                 * @description Opened before.
                 * @example 2027-11-20T00:00:00Z
                 */
                to?: string;
                /**
                 * @description The money moved at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                paidFrom?: string;
                /**
                 * @description The money moved before.
                 * @example 2027-11-20T00:00:00Z
                 */
                paidTo?: string;
                /**
                 * @description The provider's proof of the money, also in small letters.
                 * @example NLJ7RT61SV
                 */
                receipt?: string;
                /**
                 * @description The phone that was asked for the money, in any form: a local number is one of any country of the enabled providers. Found until it is erased.
                 * @example 0712 345 601
                 */
                phone?: string;
                /**
                 * @description The customer's `id`, or `email` in any case. Found until it is erased.
                 * @example C-417
                 */
                customer?: string;
                /**
                 * @description Only orders on which a person must act: in review, paid twice, paid while another payment is in review, and paid with a mismatch that nobody has accepted.
                 * @example true
                 */
                needsAttention?: true;
                /**
                 * @description Adds columns with the times as clocks of this zone show them.
                 * @example Africa/Nairobi
                 */
                timeZone?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The whole list, of any length, in UTF-8 with a byte order mark. Cells that a spreadsheet could run as a formula begin with an apostrophe. If the connection is cut before the end, the file is incomplete. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/csv": string;
                };
            };
        };
    };
    exportPayments: {
        parameters: {
            query?: {
                /**
                 * @description Only payments with this status now.
                 * @example succeeded
                 */
                status?: "pending" | "processing" | "expired" | "failed" | "review" | "succeeded";
                /**
                 * @description Only payments with this provider.
                 * @example daraja
                 */
                provider?: string;
                /**
                 * @description Only payments of this order.
                 * @example ORD-1001
                 */
                orderId?: string;
                /**
                 * @description Only payments with this reason now.
                 * @example late
                 */
                reason?: "cancelled" | "insufficient_funds" | "wrong_pin" | "declined" | "limit" | "busy" | "provider_error" | "rejected" | "no_response" | "deadline" | "late" | "amount_mismatch" | "currency_mismatch" | "receipt_reused" | "paid_twice";
                /**
                 * @description Started at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                from?: string;
                /**
                 * @description Started before.
                 * @example 2027-11-20T00:00:00Z
                 */
                to?: string;
                /**
                 * @description The money moved at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                paidFrom?: string;
                /**
                 * @description The money moved before.
                 * @example 2027-11-20T00:00:00Z
                 */
                paidTo?: string;
                /**
                 * @description The provider's proof of the money, also in small letters.
                 * @example NLJ7RT61SV
                 */
                receipt?: string;
                /**
                 * @description The phone that was asked for the money, in any form: a local number is one of any country of the enabled providers. Found until it is erased.
                 * @example 0712 345 601
                 */
                phone?: string;
                /**
                 * @description The provider's own id of the payment.
                 * @example ws_CO_191220191020363925
                 */
                reference?: string;
                /**
                 * @description Adds columns with the times as clocks of this zone show them.
                 * @example Africa/Nairobi
                 */
                timeZone?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The whole list, of any length, in UTF-8 with a byte order mark. Cells that a spreadsheet could run as a formula begin with an apostrophe. If the connection is cut before the end, the file is incomplete. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/csv": string;
                };
            };
        };
    };
    summarizePayments: {
        parameters: {
            query: {
                /**
                 * @description Money that moved at this time or later. A date is the beginning of that day in `timeZone`.
                 * @example 2026-11-01
                 */
                from: string;
                /**
                 * @description Money that moved before. Default: now.
                 * @example 2026-12-01
                 */
                to?: string;
                /**
                 * @description Default: `day`.
                 * @example day
                 */
                by?: "day" | "provider" | "currency" | "reason";
                /**
                 * @description The time zone of days. Default: UTC.
                 * @example Africa/Nairobi
                 */
                timeZone?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The totals. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "from": "2026-11-20T00:00:00.000Z",
                     *       "to": "2026-11-21T00:00:00.000Z",
                     *       "by": "day",
                     *       "timeZone": "UTC",
                     *       "data": [
                     *         {
                     *           "day": "2026-11-20",
                     *           "currency": "KES",
                     *           "live": true,
                     *           "payments": 12,
                     *           "amountMinor": 180000,
                     *           "unknownAmounts": 0
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["Summary"];
                };
            };
        };
    };
    askProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The payment.
                 * @example 0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What the provider said, and the state after it. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "answer": {
                     *         "status": "succeeded",
                     *         "receipt": "NLJ7RT61SV",
                     *         "amountMinor": 15000,
                     *         "currency": "KES"
                     *       },
                     *       "changed": true,
                     *       "payment": {
                     *         "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *         "provider": "daraja",
                     *         "attempt": 1,
                     *         "live": true,
                     *         "status": "succeeded",
                     *         "phone": "+2547*****601",
                     *         "reference": "ws_CO_20112026205932104712345601",
                     *         "receipt": "NLJ7RT61SV",
                     *         "amountPaidMinor": 15000,
                     *         "paidAt": "2026-11-20T21:00:00.123Z",
                     *         "startedAt": "2026-11-20T20:59:31.000Z",
                     *         "expiresAt": "2026-11-20T21:01:31.000Z",
                     *         "orderId": "ORD-1001",
                     *         "amountMinor": 15000,
                     *         "currency": "KES"
                     *       },
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 3,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:00.123Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Asked"];
                };
            };
        };
    };
    listWebhooks: {
        parameters: {
            query?: {
                /**
                 * @description Only webhooks with this result.
                 * @example unmatched
                 */
                result?: "applied" | "repeat" | "hint" | "unmatched" | "nothing" | "error" | "unreadable" | "refused";
                /**
                 * @description Only webhooks of this provider.
                 * @example lipana
                 */
                provider?: string;
                /**
                 * @description Only webhooks about this payment.
                 * @example 0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52
                 */
                paymentId?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Webhooks in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": 4711,
                     *           "provider": "lipana",
                     *           "receivedAt": "2026-11-20T21:00:00.101Z",
                     *           "result": "unmatched",
                     *           "proof": "signature",
                     *           "headers": {
                     *             "content-type": "application/json"
                     *           },
                     *           "body": "{\"event\":\"transaction.success\",\"transaction_id\":\"TXN1735725600ABC\",\"phone\":\"+2547*****678\",\"amount\":100}",
                     *           "bytes": 312
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["InboxWebhookList"];
                };
            };
        };
    };
    applyWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The webhook.
                 * @example 4711
                 */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Assignment"];
            };
        };
        responses: {
            /** @description The effect, and the state after it. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "result": "applied",
                     *       "payment": {
                     *         "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *         "provider": "daraja",
                     *         "attempt": 1,
                     *         "live": true,
                     *         "status": "succeeded",
                     *         "phone": "+2547*****601",
                     *         "reference": "ws_CO_20112026205932104712345601",
                     *         "receipt": "NLJ7RT61SV",
                     *         "amountPaidMinor": 15000,
                     *         "paidAt": "2026-11-20T21:00:00.123Z",
                     *         "startedAt": "2026-11-20T20:59:31.000Z",
                     *         "expiresAt": "2026-11-20T21:01:31.000Z",
                     *         "orderId": "ORD-1001",
                     *         "amountMinor": 15000,
                     *         "currency": "KES"
                     *       },
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 3,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:00.123Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["AppliedWebhook"];
                };
            };
        };
    };
    putResult: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ResultRequest"];
            };
        };
        responses: {
            /** @description The order has this very result: there is no new version. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 4,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:01.310Z",
                     *         "results": [
                     *           {
                     *             "id": "seat-A1",
                     *             "kind": "ticket",
                     *             "title": "Seat A1, 20 November",
                     *             "code": "TUK-7F3A-91C2",
                     *             "url": "https://shop.example/tickets/7f3a",
                     *             "expiresAt": "2026-11-21T00:00:00.000Z"
                     *           }
                     *         ]
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["ChangedResults"];
                };
            };
            /** @description The order after the change. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 4,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:01.310Z",
                     *         "results": [
                     *           {
                     *             "id": "seat-A1",
                     *             "kind": "ticket",
                     *             "title": "Seat A1, 20 November",
                     *             "code": "TUK-7F3A-91C2",
                     *             "url": "https://shop.example/tickets/7f3a",
                     *             "expiresAt": "2026-11-21T00:00:00.000Z"
                     *           }
                     *         ]
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["ChangedResults"];
                };
            };
        };
    };
    removeResult: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
                /**
                 * @description Your name for the result. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example seat-A1
                 */
                resultId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The order after the change. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 5,
                     *         "status": "succeeded",
                     *         "settled": true,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z",
                     *           "amountPaidMinor": 15000,
                     *           "receipt": "NLJ7RT61SV"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T21:00:00.123Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["ChangedResults"];
                };
            };
        };
    };
    listProviders: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Each with its call statistics. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProviderList"];
                };
            };
        };
    };
    fetchProviderToken: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The provider's name.
                 * @example daraja
                 */
                provider: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The expiry of the token. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AccessToken"];
                };
            };
        };
    };
    examine: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What was found, with what to do about it. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "error",
                     *       "checkedAt": "2026-11-20T21:00:00.000Z",
                     *       "node": "hub-1:3000",
                     *       "data": [
                     *         {
                     *           "id": "provider.daraja",
                     *           "name": "M-Pesa",
                     *           "status": "error",
                     *           "message": "M-Pesa refuses the credentials: it answered HTTP 400 with {\"errorCode\":\"400.008.01\",\"errorMessage\":\"Invalid Authentication passed\"}.",
                     *           "action": "Compare DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET with the provider's portal, and restart every node. Test credentials need the test address in DARAJA_BASE_URL."
                     *         },
                     *         {
                     *           "id": "redis",
                     *           "name": "Redis",
                     *           "status": "ok",
                     *           "message": "10.0.0.5:6379 (7.4.1) answers within 0.4 ms and carries events."
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["DoctorReport"];
                };
            };
        };
    };
    waitForOrder: {
        parameters: {
            query?: {
                /**
                 * @description The last state that the client has: its `version`, or its `epoch` and `version` as in `0.3`. Only newer states are sent. A state of another epoch counts as newer.
                 * @example 1
                 */
                after?: string;
                /**
                 * @description Whether the first state of the connection has `sentAt`, the server's time, for a countdown that does not depend on the device's clock. Default: false.
                 * @example true
                 */
                clock?: boolean;
                /**
                 * @description The longest time to wait, in seconds.
                 * @example 25
                 */
                timeout?: number;
            };
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The order's current state. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *       "orderId": "ORD-1001",
                     *       "epoch": 0,
                     *       "version": 3,
                     *       "status": "succeeded",
                     *       "settled": true,
                     *       "amountMinor": 15000,
                     *       "currency": "KES",
                     *       "live": true,
                     *       "payment": {
                     *         "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *         "provider": "daraja",
                     *         "attempt": 1,
                     *         "startedAt": "2026-11-20T20:59:31.000Z",
                     *         "expiresAt": "2026-11-20T21:01:31.000Z",
                     *         "amountPaidMinor": 15000,
                     *         "receipt": "NLJ7RT61SV"
                     *       },
                     *       "openedAt": "2026-11-20T20:59:31.000Z",
                     *       "occurredAt": "2026-11-20T21:00:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["StatusEvent"];
                };
            };
        };
    };
    listEndpoints: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All endpoints, the oldest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *           "url": "https://shop.example.com/hooks/tukio",
                     *           "events": null,
                     *           "enabled": true,
                     *           "version": 1,
                     *           "createdAt": "2026-11-20T20:59:31.000Z",
                     *           "changedAt": "2026-11-20T20:59:31.000Z"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["EndpointList"];
                };
            };
        };
    };
    createEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["EndpointDraft"];
            };
        };
        responses: {
            /** @description The endpoint and its secret. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "endpoint": {
                     *         "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *         "url": "https://shop.example.com/hooks/tukio",
                     *         "events": null,
                     *         "enabled": true,
                     *         "version": 1,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       },
                     *       "secret": "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGFuIGV4YW1wbGU="
                     *     }
                     */
                    "application/json": components["schemas"]["EndpointWithSecret"];
                };
            };
        };
    };
    readEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The endpoint. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "endpoint": {
                     *         "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *         "url": "https://shop.example.com/hooks/tukio",
                     *         "events": null,
                     *         "enabled": true,
                     *         "version": 1,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["EndpointAnswer"];
                };
            };
        };
    };
    deleteEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is deleted. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    changeEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["EndpointChange"];
            };
        };
        responses: {
            /** @description The endpoint. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "endpoint": {
                     *         "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *         "url": "https://shop.example.com/hooks/tukio",
                     *         "events": null,
                     *         "enabled": true,
                     *         "version": 1,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["EndpointAnswer"];
                };
            };
        };
    };
    rotateSecret: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The endpoint and its new secret. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "endpoint": {
                     *         "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *         "url": "https://shop.example.com/hooks/tukio",
                     *         "events": null,
                     *         "enabled": true,
                     *         "version": 1,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       },
                     *       "secret": "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGFuIGV4YW1wbGU="
                     *     }
                     */
                    "application/json": components["schemas"]["EndpointWithSecret"];
                };
            };
        };
    };
    pingEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The result. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "delivered": true,
                     *       "httpStatus": 200,
                     *       "durationMs": 42,
                     *       "answer": "ok"
                     *     }
                     */
                    "application/json": components["schemas"]["Ping"];
                };
            };
        };
    };
    listDeliveries: {
        parameters: {
            query?: {
                status?: "pending" | "delivered" | "failed" | "superseded";
                orderId?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Entries in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318.0.3",
                     *           "type": "order.succeeded",
                     *           "orderId": "ORD-1001",
                     *           "version": 3,
                     *           "status": "delivered",
                     *           "attempt": 1,
                     *           "at": "2026-11-20T21:00:00.123Z",
                     *           "httpStatus": 200,
                     *           "durationMs": 42,
                     *           "answer": "ok"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["DeliveryPage"];
                };
            };
        };
    };
    replayEndpoint: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The endpoint.
                 * @example 0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Replay"];
            };
        };
        responses: {
            /** @description The number of orders that will be sent. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "count": 12
                     *     }
                     */
                    "application/json": components["schemas"]["ReplayAnswer"];
                };
            };
        };
    };
    readEvents: {
        parameters: {
            query?: {
                /** @description Only events from this time on. */
                since?: string;
                type?: "order.pending" | "order.processing" | "order.succeeded" | "order.failed" | "order.expired" | "order.review" | "order.updated";
                /** @description The `nextCursor` or `endCursor` of a page. */
                cursor?: string;
                /**
                 * @description Events in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: {
                /** @description The `id` of the last event of a stream that is continued. */
                "Last-Event-ID"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318.0.3",
                     *           "type": "order.succeeded",
                     *           "timestamp": "2026-11-20T21:00:00.123Z",
                     *           "data": {
                     *             "order": {
                     *               "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *               "orderId": "ORD-1001",
                     *               "epoch": 0,
                     *               "version": 3,
                     *               "status": "succeeded",
                     *               "settled": true,
                     *               "amountMinor": 15000,
                     *               "currency": "KES",
                     *               "live": true,
                     *               "payment": {
                     *                 "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *                 "provider": "daraja",
                     *                 "attempt": 1,
                     *                 "startedAt": "2026-11-20T20:59:31.000Z",
                     *                 "expiresAt": "2026-11-20T21:01:31.000Z",
                     *                 "amountPaidMinor": 15000,
                     *                 "receipt": "NLJ7RT61SV"
                     *               },
                     *               "openedAt": "2026-11-20T20:59:31.000Z",
                     *               "occurredAt": "2026-11-20T21:00:00.123Z"
                     *             }
                     *           }
                     *         }
                     *       ],
                     *       "nextCursor": null,
                     *       "endCursor": "WyI3NTA6NzUwOiJd"
                     *     }
                     */
                    "application/json": {
                        data: components["schemas"]["Event"][];
                        nextCursor: string | null;
                        /** @description The place after this page, to continue later. */
                        endCursor: string;
                    };
                };
            };
        };
    };
    listPaymentLinks: {
        parameters: {
            query?: {
                /**
                 * @description Only links with this status now.
                 * @example open
                 */
                status?: "open" | "paid" | "cancelled" | "expired";
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Links in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02",
                     *           "orderId": "INV-7",
                     *           "version": 1,
                     *           "status": "open",
                     *           "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D",
                     *           "amountMinor": 15000,
                     *           "currency": "KES",
                     *           "description": "2 tickets",
                     *           "createdAt": "2026-11-20T20:59:31.000Z",
                     *           "changedAt": "2026-11-20T20:59:31.000Z"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["PaymentLinkPage"];
                };
            };
        };
    };
    createPaymentLink: {
        parameters: {
            query?: never;
            header?: {
                /** @description Quoted or bare, such as `cart-7f3a`; kept for 72 h. A request with the same key and body gets the same link; one with another body is refused. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PaymentLinkRequest"];
            };
        };
        responses: {
            /** @description The link. */
            201: {
                headers: {
                    /** @description `true` when the key was used before with the same body. */
                    "Idempotency-Replayed"?: "true";
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "paymentLink": {
                     *         "id": "0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02",
                     *         "orderId": "INV-7",
                     *         "version": 1,
                     *         "status": "open",
                     *         "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D",
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "description": "2 tickets",
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PaymentLinkAnswer"];
                };
            };
        };
    };
    readPaymentLink: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The payment link.
                 * @example 0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The link. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "paymentLink": {
                     *         "id": "0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02",
                     *         "orderId": "INV-7",
                     *         "version": 1,
                     *         "status": "open",
                     *         "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D",
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "description": "2 tickets",
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PaymentLinkAnswer"];
                };
            };
        };
    };
    cancelPaymentLink: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The payment link.
                 * @example 0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The link. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "paymentLink": {
                     *         "id": "0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02",
                     *         "orderId": "INV-7",
                     *         "version": 2,
                     *         "status": "cancelled",
                     *         "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D",
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "description": "2 tickets",
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PaymentLinkAnswer"];
                };
            };
        };
    };
    readPaymentLinkQrSvg: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The payment link.
                 * @example 0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The QR code of `url`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "image/svg+xml": string;
                };
            };
        };
    };
    readPaymentLinkQrPng: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The payment link.
                 * @example 0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The QR code of `url`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "image/png": string;
                };
            };
        };
    };
    listPlans: {
        parameters: {
            query?: {
                /**
                 * @description Only plans with this status now.
                 * @example past_due
                 */
                status?: "active" | "past_due" | "completed" | "cancelled" | "paused";
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Plans in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *           "planId": "PHONE-7",
                     *           "version": 1,
                     *           "status": "active",
                     *           "kind": "instalments",
                     *           "currency": "KES",
                     *           "paidMinor": 0,
                     *           "remainingMinor": 1000000,
                     *           "instalments": [
                     *             {
                     *               "n": 1,
                     *               "dueAt": "2040-12-01T06:00:00.000Z",
                     *               "amountMinor": 333400,
                     *               "status": "open",
                     *               "orderId": "PHONE-7-1",
                     *               "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *             },
                     *             {
                     *               "n": 2,
                     *               "dueAt": "2041-01-01T06:00:00.000Z",
                     *               "amountMinor": 333300,
                     *               "status": "open",
                     *               "orderId": "PHONE-7-2",
                     *               "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *             },
                     *             {
                     *               "n": 3,
                     *               "dueAt": "2041-02-01T06:00:00.000Z",
                     *               "amountMinor": 333300,
                     *               "status": "open",
                     *               "orderId": "PHONE-7-3",
                     *               "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *             }
                     *           ],
                     *           "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *           "customer": {
                     *             "id": "C-1",
                     *             "phone": "+2547*****678"
                     *           },
                     *           "description": "A phone in three instalments",
                     *           "schedule": {
                     *             "totalMinor": 1000000,
                     *             "every": {
                     *               "months": 1
                     *             },
                     *             "count": 3,
                     *             "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *           },
                     *           "timeZone": "Africa/Nairobi",
                     *           "promptAt": "09:00",
                     *           "remindDaysBefore": [
                     *             3,
                     *             0
                     *           ],
                     *           "graceDays": 3,
                     *           "createdAt": "2026-11-20T20:59:31.000Z",
                     *           "changedAt": "2026-11-20T20:59:31.000Z"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["PlanPage"];
                };
            };
        };
    };
    createPlan: {
        parameters: {
            query?: never;
            header?: {
                /** @description Quoted or bare, such as `cart-7f3a`; kept for 72 h. A request with the same key and body gets the same plan; one with another body is refused. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PlanRequest"];
            };
        };
        responses: {
            /** @description The plan. */
            201: {
                headers: {
                    /** @description `true` when the key was used before with the same body. */
                    "Idempotency-Replayed"?: "true";
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "plan": {
                     *         "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *         "planId": "PHONE-7",
                     *         "version": 1,
                     *         "status": "active",
                     *         "kind": "instalments",
                     *         "currency": "KES",
                     *         "paidMinor": 0,
                     *         "remainingMinor": 1000000,
                     *         "instalments": [
                     *           {
                     *             "n": 1,
                     *             "dueAt": "2040-12-01T06:00:00.000Z",
                     *             "amountMinor": 333400,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-1",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *           },
                     *           {
                     *             "n": 2,
                     *             "dueAt": "2041-01-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-2",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *           },
                     *           {
                     *             "n": 3,
                     *             "dueAt": "2041-02-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-3",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *           }
                     *         ],
                     *         "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *         "customer": {
                     *           "id": "C-1",
                     *           "phone": "+2547*****678"
                     *         },
                     *         "description": "A phone in three instalments",
                     *         "schedule": {
                     *           "totalMinor": 1000000,
                     *           "every": {
                     *             "months": 1
                     *           },
                     *           "count": 3,
                     *           "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *         },
                     *         "timeZone": "Africa/Nairobi",
                     *         "promptAt": "09:00",
                     *         "remindDaysBefore": [
                     *           3,
                     *           0
                     *         ],
                     *         "graceDays": 3,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PlanAnswer"];
                };
            };
        };
    };
    readPlan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the plan. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example PHONE-7
                 */
                planId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The plan. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "plan": {
                     *         "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *         "planId": "PHONE-7",
                     *         "version": 1,
                     *         "status": "active",
                     *         "kind": "instalments",
                     *         "currency": "KES",
                     *         "paidMinor": 0,
                     *         "remainingMinor": 1000000,
                     *         "instalments": [
                     *           {
                     *             "n": 1,
                     *             "dueAt": "2040-12-01T06:00:00.000Z",
                     *             "amountMinor": 333400,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-1",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *           },
                     *           {
                     *             "n": 2,
                     *             "dueAt": "2041-01-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-2",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *           },
                     *           {
                     *             "n": 3,
                     *             "dueAt": "2041-02-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-3",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *           }
                     *         ],
                     *         "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *         "customer": {
                     *           "id": "C-1",
                     *           "phone": "+2547*****678"
                     *         },
                     *         "description": "A phone in three instalments",
                     *         "schedule": {
                     *           "totalMinor": 1000000,
                     *           "every": {
                     *             "months": 1
                     *           },
                     *           "count": 3,
                     *           "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *         },
                     *         "timeZone": "Africa/Nairobi",
                     *         "promptAt": "09:00",
                     *         "remindDaysBefore": [
                     *           3,
                     *           0
                     *         ],
                     *         "graceDays": 3,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PlanAnswer"];
                };
            };
        };
    };
    pausePlan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the plan. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example PHONE-7
                 */
                planId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The plan. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "plan": {
                     *         "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *         "planId": "PHONE-7",
                     *         "version": 2,
                     *         "status": "paused",
                     *         "kind": "instalments",
                     *         "currency": "KES",
                     *         "paidMinor": 0,
                     *         "remainingMinor": 1000000,
                     *         "instalments": [
                     *           {
                     *             "n": 1,
                     *             "dueAt": "2040-12-01T06:00:00.000Z",
                     *             "amountMinor": 333400,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-1",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *           },
                     *           {
                     *             "n": 2,
                     *             "dueAt": "2041-01-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-2",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *           },
                     *           {
                     *             "n": 3,
                     *             "dueAt": "2041-02-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-3",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *           }
                     *         ],
                     *         "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *         "customer": {
                     *           "id": "C-1",
                     *           "phone": "+2547*****678"
                     *         },
                     *         "description": "A phone in three instalments",
                     *         "schedule": {
                     *           "totalMinor": 1000000,
                     *           "every": {
                     *             "months": 1
                     *           },
                     *           "count": 3,
                     *           "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *         },
                     *         "timeZone": "Africa/Nairobi",
                     *         "promptAt": "09:00",
                     *         "remindDaysBefore": [
                     *           3,
                     *           0
                     *         ],
                     *         "graceDays": 3,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PlanAnswer"];
                };
            };
        };
    };
    resumePlan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the plan. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example PHONE-7
                 */
                planId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The plan. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "plan": {
                     *         "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *         "planId": "PHONE-7",
                     *         "version": 2,
                     *         "status": "active",
                     *         "kind": "instalments",
                     *         "currency": "KES",
                     *         "paidMinor": 0,
                     *         "remainingMinor": 1000000,
                     *         "instalments": [
                     *           {
                     *             "n": 1,
                     *             "dueAt": "2040-12-01T06:00:00.000Z",
                     *             "amountMinor": 333400,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-1",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *           },
                     *           {
                     *             "n": 2,
                     *             "dueAt": "2041-01-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-2",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *           },
                     *           {
                     *             "n": 3,
                     *             "dueAt": "2041-02-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-3",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *           }
                     *         ],
                     *         "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *         "customer": {
                     *           "id": "C-1",
                     *           "phone": "+2547*****678"
                     *         },
                     *         "description": "A phone in three instalments",
                     *         "schedule": {
                     *           "totalMinor": 1000000,
                     *           "every": {
                     *             "months": 1
                     *           },
                     *           "count": 3,
                     *           "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *         },
                     *         "timeZone": "Africa/Nairobi",
                     *         "promptAt": "09:00",
                     *         "remindDaysBefore": [
                     *           3,
                     *           0
                     *         ],
                     *         "graceDays": 3,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PlanAnswer"];
                };
            };
        };
    };
    cancelPlan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the plan. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example PHONE-7
                 */
                planId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The plan. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "plan": {
                     *         "id": "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
                     *         "planId": "PHONE-7",
                     *         "version": 2,
                     *         "status": "cancelled",
                     *         "kind": "instalments",
                     *         "currency": "KES",
                     *         "paidMinor": 0,
                     *         "remainingMinor": 1000000,
                     *         "instalments": [
                     *           {
                     *             "n": 1,
                     *             "dueAt": "2040-12-01T06:00:00.000Z",
                     *             "amountMinor": 333400,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-1",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D"
                     *           },
                     *           {
                     *             "n": 2,
                     *             "dueAt": "2041-01-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-2",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1E"
                     *           },
                     *           {
                     *             "n": 3,
                     *             "dueAt": "2041-02-01T06:00:00.000Z",
                     *             "amountMinor": 333300,
                     *             "status": "open",
                     *             "orderId": "PHONE-7-3",
                     *             "url": "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1F"
                     *           }
                     *         ],
                     *         "url": "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
                     *         "customer": {
                     *           "id": "C-1",
                     *           "phone": "+2547*****678"
                     *         },
                     *         "description": "A phone in three instalments",
                     *         "schedule": {
                     *           "totalMinor": 1000000,
                     *           "every": {
                     *             "months": 1
                     *           },
                     *           "count": 3,
                     *           "firstDueAt": "2040-12-01T06:00:00.000Z"
                     *         },
                     *         "timeZone": "Africa/Nairobi",
                     *         "promptAt": "09:00",
                     *         "remindDaysBefore": [
                     *           3,
                     *           0
                     *         ],
                     *         "graceDays": 3,
                     *         "createdAt": "2026-11-20T20:59:31.000Z",
                     *         "changedAt": "2026-11-20T20:59:31.000Z"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["PlanAnswer"];
                };
            };
        };
    };
    advanceClock: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ClockRequest"];
            };
        };
        responses: {
            /** @description The new time of plans. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "now": "2041-01-01T06:00:00.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["ClockAnswer"];
                };
            };
        };
    };
    listNotifications: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Those that are configured. On nodes with a sandbox: all. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "name": "receipt",
                     *           "live": true,
                     *           "events": [
                     *             "order.succeeded"
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["NotificationList"];
                };
            };
        };
    };
    listNotificationDeliveries: {
        parameters: {
            query?: {
                status?: "pending" | "delivered" | "failed" | "superseded";
                orderId?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Entries in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path: {
                /**
                 * @description The notification's name.
                 * @example receipt
                 */
                name: "receipt" | "sms" | "alert";
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318.0.3",
                     *           "type": "order.succeeded",
                     *           "orderId": "ORD-1001",
                     *           "version": 3,
                     *           "status": "delivered",
                     *           "attempt": 1,
                     *           "at": "2026-11-20T21:00:00.123Z",
                     *           "durationMs": 230,
                     *           "answer": "250 2.0.0 Ok: queued"
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["DeliveryPage"];
                };
            };
        };
    };
    replayNotification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The notification's name.
                 * @example receipt
                 */
                name: "receipt" | "sms" | "alert";
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Replay"];
            };
        };
        responses: {
            /** @description The number of orders that will be sent. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "count": 12
                     *     }
                     */
                    "application/json": components["schemas"]["ReplayAnswer"];
                };
            };
        };
    };
    listOrderNotifications: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The notifications. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "name": "receipt"
                     *         },
                     *         {
                     *           "name": "sms",
                     *           "latest": {
                     *             "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318.0.3",
                     *             "type": "order.succeeded",
                     *             "orderId": "ORD-1001",
                     *             "version": 3,
                     *             "status": "delivered",
                     *             "attempt": 1,
                     *             "at": "2026-11-20T21:00:00.123Z",
                     *             "durationMs": 410,
                     *             "sms": {
                     *               "id": "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71",
                     *               "status": "delivered",
                     *               "parts": 1,
                     *               "reportedAt": "2026-11-20T21:00:00.123Z"
                     *             }
                     *           }
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["OrderNotificationList"];
                };
            };
        };
    };
    sendNotification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Your name for the order. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example ORD-1001
                 */
                orderId: string;
                /**
                 * @description The notification's name.
                 * @example receipt
                 */
                name: "receipt" | "sms" | "alert";
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It will be sent. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "count": 1
                     *     }
                     */
                    "application/json": components["schemas"]["ReplayAnswer"];
                };
            };
        };
    };
    testNotification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The notification's name.
                 * @example receipt
                 */
                name: "receipt" | "sms" | "alert";
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NotificationTest"];
            };
        };
        responses: {
            /** @description The result. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "delivered": true,
                     *       "live": true,
                     *       "durationMs": 230,
                     *       "answer": "250 2.0.0 Ok: queued"
                     *     }
                     */
                    "application/json": components["schemas"]["NotificationTestResult"];
                };
            };
        };
    };
    listKeys: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All keys, the oldest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "id": "0199f2c4-a0b1-7d22-8c4e-5f6a7b8c9d0e",
                     *           "name": "checkout server",
                     *           "scopes": [
                     *             "read",
                     *             "pay"
                     *           ],
                     *           "createdAt": "2026-11-20T20:59:31.000Z"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["ApiKeyList"];
                };
            };
        };
    };
    createKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ApiKeyDraft"];
            };
        };
        responses: {
            /** @description The key and its secret. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "key": {
                     *         "id": "0199f2c4-a0b1-7d22-8c4e-5f6a7b8c9d0e",
                     *         "name": "checkout server",
                     *         "scopes": [
                     *           "read",
                     *           "pay"
                     *         ],
                     *         "createdAt": "2026-11-20T20:59:31.000Z"
                     *       },
                     *       "secret": "tukio_key_bm90IGEgc2VjcmV0LCBvbmx5IGFuIGV4YW1wbGUuLi4"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiKeyWithSecret"];
                };
            };
        };
    };
    revokeKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The API key.
                 * @example 0199f2c4-a0b1-7d22-8c4e-5f6a7b8c9d0e
                 */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is revoked. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listAudit: {
        parameters: {
            query?: {
                /**
                 * @description Only changes with this key: its id, or `TUKIO_API_KEY`.
                 * @example TUKIO_API_KEY
                 */
                keyId?: string;
                /** @description Only this operation, by its id in the API docs. Not together with `keyId`. */
                operation?: string;
                /** @description Only changes of this order, payment link, plan, endpoint or key. Not together with another filter. */
                subject?: string;
                /**
                 * @description Made at or after.
                 * @example 2026-11-20T00:00:00Z
                 */
                from?: string;
                /**
                 * @description Made before.
                 * @example 2027-11-20T00:00:00Z
                 */
                to?: string;
                /** @description The `nextCursor` of the previous page. */
                cursor?: string;
                /**
                 * @description Entries in a page.
                 * @example 20
                 */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "data": [
                     *         {
                     *           "at": "2026-11-20T21:00:00.123Z",
                     *           "operation": "resolveReview",
                     *           "key": {
                     *             "id": "0199f2c4-a0b1-7d22-8c4e-5f6a7b8c9d0e",
                     *             "name": "checkout server"
                     *           },
                     *           "desk": true,
                     *           "subject": "ORD-1001",
                     *           "done": true
                     *         }
                     *       ],
                     *       "nextCursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["AuditPage"];
                };
            };
        };
    };
    readSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The session. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "name": "checkout server",
                     *       "scopes": [
                     *         "read",
                     *         "pay"
                     *       ],
                     *       "expiresAt": "2026-11-21T09:00:00.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["DeskSession"];
                };
            };
        };
    };
    signIn: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SignIn"];
            };
        };
        responses: {
            /** @description The session. */
            201: {
                headers: {
                    /** @description The session's token, or its removal. */
                    "Set-Cookie"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "name": "checkout server",
                     *       "scopes": [
                     *         "read",
                     *         "pay"
                     *       ],
                     *       "expiresAt": "2026-11-21T09:00:00.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["DeskSession"];
                };
            };
        };
    };
    signOut: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description There is no session. */
            204: {
                headers: {
                    /** @description The session's token, or its removal. */
                    "Set-Cookie"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    payPlan: {
        parameters: {
            query?: never;
            header?: {
                /** @description Quoted or bare, such as `cart-7f3a`; kept for 72 h. A request with the same key and body gets the current state; one with another body is refused. */
                "Idempotency-Key"?: string;
            };
            path: {
                /**
                 * @description Your name for the plan. Percent-encode it in the path. 1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.
                 * @example PHONE-7
                 */
                planId: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PlanPaymentRequest"];
            };
        };
        responses: {
            /** @description The order's current state, and a token to watch it. */
            202: {
                headers: {
                    /** @description `true` when the key was used before with the same body. */
                    "Idempotency-Replayed"?: "true";
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "order": {
                     *         "id": "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
                     *         "orderId": "ORD-1001",
                     *         "epoch": 0,
                     *         "version": 1,
                     *         "status": "pending",
                     *         "settled": false,
                     *         "amountMinor": 15000,
                     *         "currency": "KES",
                     *         "live": true,
                     *         "payment": {
                     *           "id": "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
                     *           "provider": "daraja",
                     *           "attempt": 1,
                     *           "startedAt": "2026-11-20T20:59:31.000Z",
                     *           "expiresAt": "2026-11-20T21:01:31.000Z"
                     *         },
                     *         "openedAt": "2026-11-20T20:59:31.000Z",
                     *         "occurredAt": "2026-11-20T20:59:31.000Z"
                     *       },
                     *       "watchToken": "eyJhbGciOiJIUzI1NiJ9.eyJvcmRlciI6Ik9SRC0xMDAxIn0.c2lnbmF0dXJl",
                     *       "watchTokenExpiresAt": "2026-11-21T20:59:31.000Z"
                     *     }
                     */
                    "application/json": components["schemas"]["StartedPayment"];
                };
            };
        };
    };
}
