/** Keeps a value in this tab until another load of this page takes it. A browser may forbid storage: then nothing is kept. */

/** @typedef {"phone" | "sent"} Name `phone`: what the payer entered. `sent`: this tab has sent the form. */

/** @param {Name} name */
const keyOf = (name) => name + location.pathname;

/** @param {Name} name @param {string} value */
export function keep(name, value) {
  try {
    sessionStorage.setItem(keyOf(name), value);
  } catch {
    // The payer enters the number again, and opens the provider's page by its link.
  }
}

/** @param {Name} name */
export function take(name) {
  try {
    const value = sessionStorage.getItem(keyOf(name));
    sessionStorage.removeItem(keyOf(name));
    return value;
  } catch {
    return null;
  }
}
