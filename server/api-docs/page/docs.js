// Shows this node's openapi.json, fills in the API key of development, and applies the reader's light or dark preference.
/* global SwaggerUIBundle */
const dark = matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Disabled, because it would send the URL of openapi.json to a third party.
  validatorUrl: null,
  onComplete: fillKey,
});

/** The node has a key for this page only in development, and only for a browser on the same machine. */
async function fillKey() {
  const { key } = await (await fetch("docs/key")).json();
  if (key === null) return;
  ui.preauthorizeApiKey("apiKey", key);
  document.querySelector("#filled").hidden = false;
  document.querySelector("#unfilled").hidden = true;
}
