// Shows this node's openapi.json and applies the reader's light or dark preference.
/* global SwaggerUIBundle */
const dark = matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Disabled, because it would send the URL of openapi.json to a third party.
  validatorUrl: null,
});
