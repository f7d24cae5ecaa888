/** The desk: starts the page in `index.html`. */
import "./style/base.css";
import "./style/frame.css";
import "./style/part.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { cache } from "./api/cache.ts";
import { router } from "./router.tsx";

const root = document.getElementById("desk");
if (!root) throw new Error("the page has no #desk");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={cache}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
