/** The filters above a list. Each change is written to the address, which the list reads. */
import { type ReactNode, useId, useRef, useState } from "react";
import { Button } from "./button.tsx";
import { Icon } from "./icon.tsx";

/** Filters beside each other; on a phone they are behind a button, except a search. */
export function Filters({ isFiltered, children }: { isFiltered: boolean; children: ReactNode }): ReactNode {
  const [isOpen, setOpen] = useState(false);
  return (
    <div className={isOpen ? "filters open" : "filters"}>
      {children}
      <div className="filter-toggle">
        <Button aria-expanded={isOpen} onPress={() => setOpen(!isOpen)}>
          {isOpen ? "Hide filters" : isFiltered ? "Change filters" : "Filters"}
        </Button>
      </div>
    </div>
  );
}

export interface ChoiceProps {
  label: string;
  value: string | undefined;
  /** The text of no choice. */
  all: string;
  options: readonly (readonly [value: string, text: string])[];
  onChange: (value: string | undefined) => void;
}

export function Choice({ label, value, all, options, onChange }: ChoiceProps): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value ?? ""} onChange={({ target }) => onChange(target.value || undefined)}>
        <option value="">{all}</option>
        {options.map(([one, text]) => (
          <option key={one} value={one}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

export interface DayProps {
  label: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

export function Day({ label, value, onChange }: DayProps): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} type="date" value={value ?? ""} onChange={({ target }) => onChange(target.value || undefined)} />
    </div>
  );
}

export interface SearchProps {
  label: string;
  hint: string;
  value: string | undefined;
  onSearch: (value: string | undefined) => void;
}

/** Searches when the text is sent, not at each letter, because each search is a query of the database. */
export function Search({ label, hint, value, onSearch }: SearchProps): ReactNode {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  return (
    <form
      className="search"
      onSubmit={(event) => {
        event.preventDefault();
        onSearch(input.current?.value.trim() || undefined);
      }}
    >
      <label htmlFor={id}>{label}</label>
      <div className="search-row">
        {/* The key makes a new input when the address changes, so that it shows the address's text. */}
        <input ref={input} id={id} key={value ?? ""} type="search" defaultValue={value} placeholder={hint} />
        <Button type="submit" aria-label="Search">
          <Icon name="search" />
        </Button>
      </div>
    </form>
  );
}
