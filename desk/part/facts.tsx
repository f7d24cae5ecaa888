/** Names and values. A value that is absent takes its name with it. */
import { Fragment, type ReactNode } from "react";

export type Fact = readonly [name: string, value: ReactNode];

const isPresent = ([, value]: Fact): boolean =>
  value !== undefined && value !== null && value !== "" && value !== false;

export const FactList = ({ facts }: { facts: readonly Fact[] }): ReactNode => (
  <dl className="facts">
    {facts.filter(isPresent).map(([name, value]) => (
      <Fragment key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </Fragment>
    ))}
  </dl>
);

/** An address as a link, if a browser may open it: texts of others may hold `javascript:` and the like. */
export function SafeLink({ href, children }: { href: string; children?: ReactNode }): ReactNode {
  const { protocol } = URL.parse(href) ?? {};
  if (protocol !== "https:" && protocol !== "http:") return children ?? href;
  return (
    <a href={href} target="_blank" rel="noreferrer">
      {children ?? href}
    </a>
  );
}
