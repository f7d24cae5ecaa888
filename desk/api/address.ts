/** Where the page is served. A proxy may serve the node under a path, so nothing here is a constant. */

const script = import.meta.url;

/** The desk's root, with a slash at the end: scripts are in its folder `assets`. */
const deskUrl = import.meta.env.DEV ? new URL("/desk/", location.href) : new URL("../", script);

/** The path of every screen begins with this. */
export const deskPath: string = deskUrl.pathname.replace(/\/$/, "");

/** The node's root, without a slash at the end. */
export const nodeUrl: string = new URL("../", deskUrl).href.replace(/\/$/, "");

/** The address of a file of the API, such as a CSV list, for a link. */
export function linkTo(path: string, query: Readonly<Record<string, string | undefined>> = {}): string {
  const url = new URL(nodeUrl + path);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
}
