/** Buttons. `isPending`: the action is under way, and another press does nothing. */
import type { ReactNode } from "react";
import { Button as AriaButton, type ButtonProps as AriaButtonProps } from "react-aria-components";

export interface ButtonProps extends Omit<AriaButtonProps, "className" | "style" | "children"> {
  kind?: "primary" | "danger" | "plain" | "quiet";
  children: ReactNode;
}

export const Button = ({ kind = "plain", ...props }: ButtonProps): ReactNode => (
  <AriaButton {...props} className={`button ${kind}`} />
);
