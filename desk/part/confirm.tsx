/**
 * Asks once before an action that cannot be undone. The dialog states the consequence in figures, and its button can be pressed
 * once: it stays disabled until the answer arrives, and the dialog closes after a success.
 */
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useRef } from "react";
import { Dialog, DialogTrigger, Heading, Modal, ModalOverlay } from "react-aria-components";
import { cache } from "../api/cache.ts";
import { Button, type ButtonProps } from "./button.tsx";
import { Failure } from "./state.tsx";

export interface ConfirmProps {
  /** The text of the button that opens the dialog. */
  label: ReactNode;
  kind?: ButtonProps["kind"];
  title: string;
  /** What will happen, with amounts and counts. May contain fields. */
  children: ReactNode;
  /** The text of the button that acts: a verb and its object. */
  action: string;
  actionKind?: ButtonProps["kind"];
  isReady?: boolean;
  /** Rejects with a `Fault`, which the dialog then shows. */
  onConfirm: () => Promise<unknown>;
}

export function Confirm({ label, kind = "plain", ...content }: ConfirmProps): ReactNode {
  return (
    <DialogTrigger>
      <Button kind={kind}>{label}</Button>
      <ModalOverlay className="overlay">
        <Modal className="modal">
          <Dialog>{({ close }) => <Question {...content} close={close} />}</Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  );
}

type QuestionProps = Omit<ConfirmProps, "label" | "kind"> & { close: () => void };

function Question({ title, children, action, actionKind, isReady = true, onConfirm, close }: QuestionProps): ReactNode {
  const act = useOnce(onConfirm, close);
  return (
    <>
      <Heading slot="title">{title}</Heading>
      <div className="modal-text">{children}</div>
      {act.error && <Failure error={act.error} />}
      <div className="modal-actions">
        <Button slot="close" isDisabled={act.isPending}>
          Cancel
        </Button>
        <Button kind={actionKind ?? "primary"} isPending={act.isPending} isDisabled={!isReady} onPress={act.run}>
          {act.isPending ? "Please wait…" : action}
        </Button>
      </div>
    </>
  );
}

/** An action that starts once, even if two presses arrive before the screen has changed. A failed one may be tried again. */
export function useOnce(
  act: () => Promise<unknown>,
  onDone?: () => void,
): { run: () => void; isPending: boolean; isDone: boolean; error: Error | null } {
  const isUnderWay = useRef(false);
  const mutation = useMutation({
    mutationFn: act,
    onSuccess: () => {
      onDone?.();
      return cache.invalidateQueries();
    },
    onSettled: () => {
      isUnderWay.current = false;
    },
  });
  const run = (): void => {
    if (isUnderWay.current) return;
    isUnderWay.current = true;
    mutation.mutate();
  };
  return { run, isPending: mutation.isPending, isDone: mutation.isSuccess, error: mutation.error };
}

/** A button for an action that may be repeated without harm. It tells the result beside itself. */
export function ActionButton({
  children,
  done,
  onAct,
}: {
  children: ReactNode;
  /** Shown after a success. */
  done: string;
  onAct: () => Promise<unknown>;
}): ReactNode {
  const act = useOnce(onAct);
  return (
    <span className="action">
      <Button isPending={act.isPending} onPress={act.run}>
        {act.isPending ? "Please wait…" : children}
      </Button>
      <span role="status" className={act.error ? "action-failed" : "action-done"}>
        {act.error ? act.error.message : act.isDone && done}
      </span>
    </span>
  );
}
