// Asks for a token. It is exchanged for a cookie that scripts cannot read, and is kept nowhere here.
import { useState } from "preact/hooks";
import { api, type ApiError } from "../api/client.ts";
import { Button, ErrorBox } from "../ui/parts.tsx";
import { loadSession, signInWanted } from "../ui/state.ts";

export function SignIn({ onDone }: { onDone(): void }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState<ApiError | null>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    try {
      await api.signIn(token.trim());
      setToken("");
      await loadSession();
      signInWanted.value = false;
      onDone();
    } catch (problem) {
      setError(problem as ApiError);
    }
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit}>
        <div class="brand">kflow</div>
        <h1>Sign in</h1>
        <p class="muted">
          This server asks for a token: the one in its <code>KFLOW_TOKEN</code> or <code>kflow.yaml</code>.
        </p>
        <label class="field">
          <span class="field-name">Token</span>
          <input
            type="password"
            value={token}
            autofocus
            autocomplete="current-password"
            onInput={(e) => setToken(e.currentTarget.value)}
          />
        </label>
        <ErrorBox
          error={error}
          title={error?.status === 401 ? "The token was not accepted" : "You could not be signed in"}
        />
        <Button type="submit" kind="primary" disabled={!token.trim()}>
          Sign in
        </Button>
      </form>
    </main>
  );
}
