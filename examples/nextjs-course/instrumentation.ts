/** Runs when the server starts, and not during the build. */
export function register(): void {
  // Checked here, because a server without it would refuse each event.
  if (/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(process.env.TUKIO_WEBHOOK_SECRET ?? "")) return;
  console.error("Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64");
  process.exit(1);
}
