// The page: its frame, and which view the address asks for.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";
import { api } from "./api/client.ts";
import { Button, Dialog, Icon, Toasts } from "./ui/parts.tsx";
import {
  activeShortcuts,
  applyTheme,
  go,
  helpOpen,
  loadSession,
  nextTheme,
  route,
  session,
  signInWanted,
  tell,
  tellError,
  theme,
  useShortcuts,
} from "./ui/state.ts";
import { CompareView } from "./views/compare.tsx";
import { RunByIdView, RunView } from "./views/run.tsx";
import { RunsView } from "./views/runs.tsx";
import { SchedulesView } from "./views/schedules.tsx";
import { SessionsView, SessionView } from "./views/sessions.tsx";
import { SignIn } from "./views/sign_in.tsx";
import { WorkflowsView, WorkflowView } from "./views/workflows.tsx";

const NAV: [string, string, string][] = [
  ["runs", "Runs", "g r"],
  ["workflows", "Workflows", "g w"],
  ["schedules", "Schedules", "g t"],
  ["sessions", "Sessions", "g s"],
];

function View() {
  const r = route.value;
  switch (r.view) {
    case "runs":
      return <RunsView />;
    case "run":
      return r.workflow === "_" ? (
        <RunByIdView key={r.run} run={r.run} />
      ) : (
        <RunView
          key={`${r.workflow}/${r.run}`}
          workflow={r.workflow}
          run={r.run}
          tab={r.tab}
          params={r.params}
        />
      );
    case "compare":
      return <CompareView params={r.params} />;
    case "workflows":
      return <WorkflowsView />;
    case "workflow":
      return <WorkflowView key={r.id} id={r.id} tab={r.tab} params={r.params} />;
    case "schedules":
      return <SchedulesView />;
    case "sessions":
      return <SessionsView />;
    case "session":
      return <SessionView key={r.id} id={r.id} />;
  }
}

function Help() {
  const seen = new Set<string>();
  return (
    <Dialog title="Keys" onClose={() => (helpOpen.value = false)}>
      <dl class="keys">
        {activeShortcuts()
          .flat()
          .filter((s) => !seen.has(s.keys) && seen.add(s.keys))
          .map((s) => (
            <div key={s.keys}>
              <dt>
                {s.keys.split(", ").map((k, i) => (
                  <>
                    {i > 0 && " or "}
                    <kbd>{k}</kbd>
                  </>
                ))}
              </dt>
              <dd>{s.what}</dd>
            </div>
          ))}
        <div>
          <dt>
            <kbd>Ctrl</kbd> + wheel
          </dt>
          <dd>zoom in the graph and the timeline</dd>
        </div>
      </dl>
    </Dialog>
  );
}

function App() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    void loadSession();
  }, []);
  useShortcuts([
    ...NAV.map(([to, label, keys]) => ({
      keys,
      what: `go to ${label.toLowerCase()}`,
      run: () => go(`#/${to}`),
    })),
    { keys: "t", what: "dark or light", run: nextTheme },
    { keys: "?", what: "this list", run: () => (helpOpen.value = true) },
  ]);
  useEffect(() => {
    const r = route.value;
    const what =
      r.view === "run" ? `${r.workflow} · ${r.run.slice(-8)}` : r.view === "workflow" ? r.id : r.view;
    document.title = `${what} – kflow`;
  }, [route.value]);
  if (signInWanted.value)
    return (
      <>
        <SignIn onDone={() => setTurn((t) => t + 1)} />
        <Toasts />
      </>
    );
  const view = route.value.view;
  const here =
    view === "run" || view === "compare"
      ? "runs"
      : view === "workflow"
        ? "workflows"
        : view === "session"
          ? "sessions"
          : view;
  const dark = document.documentElement.dataset.theme === "dark";
  const signOut = async () => {
    try {
      await api.signOut();
      tell("Signed out");
      await loadSession();
    } catch (error) {
      tellError("You could not be signed out", error);
    }
  };
  return (
    <div class="app" key={turn}>
      <nav class="rail" aria-label="Views">
        <a class="brand" href="#/runs">
          kflow
        </a>
        {NAV.map(([to, label, keys]) => (
          <a
            key={to}
            href={`#/${to}`}
            class={here === to ? "on" : ""}
            aria-current={here === to ? "page" : undefined}
            title={`${label} (${keys})`}
          >
            <Icon name={to} size={20} /> <span>{label}</span>
          </a>
        ))}
        <span class="grow" />
        <div class="rail-foot">
          <Button
            kind="quiet"
            icon={dark ? "sun" : "moon"}
            label={`Theme: ${theme.value}. Dark or light (t)`}
            onClick={nextTheme}
          />
          <Button kind="quiet" icon="help" label="Keys (?)" onClick={() => (helpOpen.value = true)} />
          {session.value?.requires_auth && session.value.signed_in && (
            <Button
              kind="quiet"
              icon="out"
              label={`Sign out${session.value.name ? ` ${session.value.name}` : ""}`}
              onClick={signOut}
            />
          )}
        </div>
      </nav>
      <main>
        <View />
      </main>
      {helpOpen.value && <Help />}
      <Toasts />
    </div>
  );
}

applyTheme();
render(<App />, document.getElementById("app")!);
