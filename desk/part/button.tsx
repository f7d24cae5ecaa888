/** Buttons. */
import type { ReactNode } from "react";
import { Button as AriaButton, type ButtonProps as AriaButtonProps } from "react-aria-components";

export interface ButtonProps extends Omit<AriaButtonProps, "className" | "style" | "children" | "isPending"> {
  kind?: "primary" | "danger" | "plain" | "quiet";
  /** The action is under way: a press does nothing, and the focus stays. The text must say so. */
  isPending?: boolean;
  children: ReactNode;
}

/** Not React Aria's own `isPending`, because its announcement refers to the button after it is gone. */
export function Button({ kind = "plain", isPending = false, onPress, ...props }: ButtonProps): ReactNode {
  return (
    <AriaButton
      {...props}
      {...(!isPending && onPress && { onPress })}
      {...(isPending && { "data-pending": "true" })}
      className={`button ${kind}`}
    />
  );
}
