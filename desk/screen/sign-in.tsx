/** The sign-in: an API key is exchanged for a session. The address stays, so that the wanted screen opens afterwards. */
import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Form, Input, Label, TextField } from "react-aria-components";
import { isFault } from "../api/call.ts";
import { signIn } from "../api/session.ts";
import { Button } from "../part/button.tsx";
import { Mark } from "../part/mark.tsx";
import { faultText } from "../part/state.tsx";

export function SignIn(): ReactNode {
  const entering = useMutation({ mutationFn: signIn });
  const enter = (form: FormData): void => {
    const apiKey = form.get("key");
    if (typeof apiKey === "string" && !entering.isPending) entering.mutate(apiKey.trim());
  };
  return (
    <main className="sign-in">
      <Mark />
      <h1>Sign in to the desk</h1>
      <p>Use an API key of this Tukio. A key with the scope “read” sees everything and changes nothing.</p>
      <Form
        onSubmit={(event) => {
          event.preventDefault();
          enter(new FormData(event.currentTarget));
        }}
      >
        <TextField name="key" type="password" isRequired autoComplete="current-password">
          <Label>API key</Label>
          <Input spellCheck={false} autoCapitalize="off" />
        </TextField>
        {entering.error && (
          <p role="alert" className="field-error">
            {isFault(entering.error, 401) ? "This API key is not valid." : faultText(entering.error)}
          </p>
        )}
        <Button type="submit" kind="primary" isPending={entering.isPending}>
          {entering.isPending ? "Signing in…" : "Sign in"}
        </Button>
      </Form>
      <p className="hint">
        A node on your own machine has its key in the file <code>.tukio/api-key</code>.
      </p>
    </main>
  );
}
