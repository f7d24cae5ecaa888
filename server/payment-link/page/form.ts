/** The form: amount, number and provider. It works without scripts; checkout.js selects the provider and checks before it sends. */

import { companyOf, displayNameOf, moneyOf } from "../../page/format.ts";
import { attribute, type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import { phoneLengthMax } from "../../phone-text.ts";
import { formatMinor, minorDigits } from "../../provider/money.ts";
import { exampleOf } from "../operator.ts";
import type { CheckoutView, ProviderChoice } from "../page-view.ts";
import { nameOf, pageHintOf, trustOf } from "./choice.ts";
import { type FaultText, faultText, rangeOf } from "./fault.ts";
import type { Spoken } from "./language.ts";

/** 32, because the largest amount has 16 digits, and people write separators and a currency. */
const amountLengthMax = 32;

const lock = html`<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="M6 11h12v9H6zM8.500 11V7.500a3.500 3.500 0 0 1 7 0V11"/></svg>`;

interface Fields {
  view: CheckoutView;
  spoken: Spoken;
  selected: ProviderChoice;
  fault: FaultText | undefined;
}

/** The form of a link that can be paid. It must have a provider. */
export function form(view: CheckoutView, spoken: Spoken, selected: ProviderChoice): Html {
  const { page } = spoken;
  const fields: Fields = { view, spoken, selected, fault: faultText(view, spoken) };
  const { amountMinor, currency } = view.paymentLink;
  const pay =
    amountMinor === undefined ? page.payOpen : fillIn(page.pay, { amount: moneyOf(amountMinor, currency, spoken) });
  return html`<form method="post" action="${view.actionPath}" data-starting="${page.starting}" data-offline="${page.fault.offline}">
${view.formKey && html`<input type="hidden" name="key" value="${view.formKey}">`}
${errorText(fields, undefined)}
${amountMinor === undefined && amountField(fields)}
${view.providers.some(({ takesPhone }) => takesPhone) && phoneField(fields)}
${methods(fields)}
<p class="hint" id="page-hint"${attribute("hidden", selected.takesPhone)}>${pageHintOf(selected, spoken)}</p>
<button type="submit" class="primary">${pay}</button>
<div class="trust">${lock}<p id="trust">${trustOf(selected, spoken)}</p></div>
</form>`;
}

/** The fault below its field, or above the form. Empty without one: the script can write into it. */
function errorText({ fault }: Fields, field: FaultText["field"]): Html {
  const text = fault && fault.field === field ? fault.text : undefined;
  return html`<p class="error" id="${field ?? "form"}-error" role="alert"${attribute("hidden", text === undefined)}>${text}</p>`;
}

/** A wrong field has the focus when the page opens. */
const invalid = ({ fault }: Fields, field: FaultText["field"]): Html | undefined =>
  fault?.field === field ? html` aria-invalid="true" autofocus` : undefined;

function amountField(fields: Fields): Html {
  const { view, spoken } = fields;
  const { page } = spoken;
  return html`<div class="field">
<label for="amount">${page.amount} (${view.paymentLink.currency})</label>
<input id="amount" name="amount" inputmode="decimal" autocomplete="off" required maxlength="${amountLengthMax}" data-missing="${page.fault.amountMissing}" aria-describedby="amount-error amount-hint"${attribute("value", enteredAmount(view))}${invalid(fields, "amount")}>
${errorText(fields, "amount")}
<p class="hint" id="amount-hint">${rangeOf(view, spoken)}</p>
</div>`;
}

/** The value that the payer entered now, else for the attempt before. */
function enteredAmount({ fault, order, paymentLink: { currency } }: CheckoutView): string | undefined {
  if (fault || !order) return fault?.values.amount;
  return formatMinor(BigInt(order.amountMinor), minorDigits(currency)).replace(/[.]0+$/, "");
}

function phoneField(fields: Fields): Html {
  const { view, spoken, selected } = fields;
  const { page } = spoken;
  const isOptional = view.providers.some(({ takesPhone }) => !takesPhone);
  const name = view.providers.length === 1 ? displayNameOf(selected.name) : undefined;
  const example = exampleOf(view.providers.find(({ callingCode }) => callingCode)?.callingCode);
  return html`<div class="field" id="phone-field">
<label for="phone">${name ? fillIn(page.phoneOf, { provider: name }) : page.phone}</label>
<input id="phone" name="phone" type="tel" autocomplete="tel"${attribute("required", !isOptional)} maxlength="${phoneLengthMax}" data-missing="${page.fault.phoneMissing}" aria-describedby="phone-error phone-hint"${attribute("value", view.fault?.values.phone)}${invalid(fields, "phone")}>
${errorText(fields, "phone")}
<p class="hint" id="phone-hint">${page.phoneHint} ${example && fillIn(page.example, { example })}</p>
</div>`;
}

/** A choice of one is no choice. */
function methods(fields: Fields): Html {
  const { view, spoken, selected } = fields;
  const { providers } = view;
  if (providers.length === 1) return html`<input type="hidden" name="provider" value="${selected.name}">`;
  return html`<fieldset class="field" id="methods">
<legend>${spoken.page.method}</legend>
${errorText(fields, "provider")}
<div class="methods">${providers.map((provider) => method(provider, fields))}</div>
</fieldset>`;
}

function method(provider: ProviderChoice, { view, spoken, selected }: Fields): Html {
  const { name, takesPhone, callingCode, prefixes } = provider;
  const shown = nameOf(name, spoken);
  const isAmbiguous = view.providers.some((other) => other.name !== name && nameOf(other.name, spoken) === shown);
  const via = isAmbiguous && html`<span class="via">${fillIn(spoken.page.via, { company: companyOf(name) })}</span>`;
  return html`<label class="method"><input type="radio" name="provider" value="${name}" required${attribute("checked", provider === selected)}${attribute("data-phone", takesPhone)}${attribute("data-code", callingCode)}${attribute("data-prefixes", prefixes?.join(" "))} data-trust="${trustOf(provider, spoken)}"${attribute("data-hint", pageHintOf(provider, spoken))}><span><span class="name">${shown}</span> ${via}</span></label>`;
}
