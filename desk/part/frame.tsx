/** The frame of every screen: navigation at the side, or at the bottom of a phone; the sign-in in its place while nobody is signed in. */
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { type ReactNode, useEffect } from "react";
import { Dialog, DialogTrigger, Heading, Modal, ModalOverlay } from "react-aria-components";
import { useAttention } from "../api/attention.ts";
import { followOrders, useLink } from "../api/live.ts";
import { type Scope, type Session, sessionQuery, signOut } from "../api/session.ts";
import { type Place, places } from "../place.ts";
import { SignIn } from "../screen/sign-in.tsx";
import { Button } from "./button.tsx";
import { Icon } from "./icon.tsx";
import { Mark } from "./mark.tsx";
import { Failure, Loading } from "./state.tsx";

export function Frame(): ReactNode {
  const { data: session, error, refetch } = useQuery(sessionQuery);
  if (session) return <SignedIn session={session} />;
  if (session === null) return <SignIn />;
  return (
    <main className="sign-in">{error ? <Failure error={error} onRetry={() => void refetch()} /> : <Loading />}</main>
  );
}

function SignedIn({ session }: { session: Session }): ReactNode {
  useEffect(followOrders, []);
  useTitle();
  return (
    <div className="frame">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="side">
        <Link to="/" className="brand">
          <Mark />
          <span>Tukio</span>
        </Link>
        <LinkState />
        <nav aria-label="Desk" className="side-nav">
          {places.map((place) => (
            <NavLink key={place.to} place={place} />
          ))}
        </nav>
        <Person session={session} />
      </header>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <nav aria-label="Desk" className="bottom-nav">
        {places
          .filter(({ isDaily }) => isDaily)
          .map((place) => (
            <NavLink key={place.to} place={place} />
          ))}
        <MorePlaces session={session} />
      </nav>
    </div>
  );
}

interface NavLinkProps {
  place: Place;
  onPress?: () => void;
}

const NavLink = ({ place: { to, title, icon, hasCount }, onPress }: NavLinkProps): ReactNode => (
  <Link to={to} className="nav-link" activeOptions={{ exact: to === "/", includeSearch: false }} onClick={onPress}>
    <Icon name={icon} />
    <span>{title}</span>
    {hasCount && <Count />}
  </Link>
);

function Count(): ReactNode {
  const { count } = useAttention();
  return count > 0 && <span className="nav-count">{count}</span>;
}

/** The places that have no room at the bottom of a phone. */
const MorePlaces = ({ session }: { session: Session }): ReactNode => (
  <DialogTrigger>
    <Button kind="quiet">
      <Icon name="more" />
      <span>More</span>
    </Button>
    <ModalOverlay className="overlay" isDismissable>
      <Modal className="modal sheet">
        <Dialog>
          {({ close }) => (
            <>
              <Heading slot="title">More</Heading>
              <div className="sheet-nav">
                {places
                  .filter(({ isDaily }) => !isDaily)
                  .map((place) => (
                    <NavLink key={place.to} place={place} onPress={close} />
                  ))}
              </div>
              <Person session={session} />
            </>
          )}
        </Dialog>
      </Modal>
    </ModalOverlay>
  </DialogTrigger>
);

const scopeTexts: Readonly<Record<Scope, string>> = { read: "read", pay: "start payments", manage: "decide" };

function accessText(scopes: readonly Scope[]): string {
  if (scopes.length === Object.keys(scopeTexts).length) return "Full access";
  return `May ${scopes.map((scope) => scopeTexts[scope]).join(", ")}`;
}

const Person = ({ session: { name, scopes } }: { session: Session }): ReactNode => (
  <div className="person">
    <p>
      <strong>{name}</strong>
      <span>{accessText(scopes)}</span>
    </p>
    <Button kind="quiet" onPress={() => void signOut()} aria-label="Sign out">
      <Icon name="signOut" />
      <span>Sign out</span>
    </Button>
  </div>
);

const LinkState = (): ReactNode => {
  const link = useLink();
  return (
    <p className={`link-state ${link}`} role="status">
      {link === "live" ? "Live" : "Not live"}
    </p>
  );
};

/** The title of the window, for tabs and screen readers. */
function useTitle(): void {
  const path = useRouterState({ select: ({ location }) => location.pathname });
  useEffect(() => {
    const place = places.findLast(({ to }) => (to === "/" ? path === "/" : path.startsWith(to)));
    document.title = `${place?.title ?? "Desk"} · Tukio`;
  }, [path]);
}
