/** Filters of a list: they stand in the address, so that a list can be kept and sent to a colleague. */

/** Keeps the named filters that have a text, and drops everything else in the address. */
export const textFilters =
  <Name extends string>(...names: Name[]) =>
  (search: Record<string, unknown>): { [Key in Name]?: string | undefined } => {
    const found: { [Key in Name]?: string | undefined } = {};
    for (const name of names) {
      const value = search[name];
      if (typeof value === "string" && value !== "") found[name] = value;
    }
    return found;
  };

export const orderFilters = textFilters("find", "status", "provider", "reason", "by", "from", "to", "attention");
