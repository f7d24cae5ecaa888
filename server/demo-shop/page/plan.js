/** "Pay in three instalments": the shop creates a plan for the selected item, shows its address, and moves the time of plans. */
import { find } from "./form.js";
import { createPlan, moveClock } from "./payment.js";

/**
 * @typedef {object} PlanOptions
 * @property {() => { item: string, provider: string, phone?: string } | undefined} selection
 * @property {(error: unknown) => void} onError
 */

const day = new Intl.DateTimeFormat("en", { year: "numeric", month: "long", day: "numeric" });

/** Starts the buttons. Returns functions that hide a plan, because the selection has changed, and that show the clock. @param {PlanOptions} options */
export function createPlanButton({ selection, onError }) {
  const button = /** @type {HTMLButtonElement} */ (find("in-parts"));
  const later = /** @type {HTMLButtonElement} */ (find("month-later"));
  const address = /** @type {HTMLAnchorElement} */ (find("plan-address"));

  button.addEventListener("click", async () => {
    const selected = selection();
    if (!selected) return;
    button.disabled = true;
    try {
      const { url } = await createPlan(selected);
      address.href = url;
      find("plan").hidden = false;
      address.focus();
    } catch (error) {
      onError(error);
    } finally {
      button.disabled = false;
    }
  });

  later.addEventListener("click", async () => {
    later.disabled = true;
    try {
      const { now } = await moveClock();
      find("plan-now").textContent = `For all plans it is now ${day.format(new Date(now))}. Reload the plan’s page.`;
    } catch (error) {
      onError(error);
    } finally {
      later.disabled = false;
    }
  });

  return {
    hide() {
      find("plan").hidden = true;
    },

    /** The node has a clock of plans only if all its providers are sandboxes. @param {boolean} isShown */
    showClock(isShown) {
      find("plan-clock").hidden = !isShown;
    },
  };
}
