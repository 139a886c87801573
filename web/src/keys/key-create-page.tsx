// Making a key: from which real key, how much it is good for, and for what. Then the key is shown, this once.

import { useState } from "preact/hooks";
import { type ApiError, call } from "../api/client";
import type { CreatedKey, Credential, Price, Project, Provider } from "../api/types";
import { parseSpan } from "../format/duration";
import { usd } from "../format/money";
import { parseWhole } from "../format/number";
import { asApiError, useLoad } from "../load";
import { Link, navigate } from "../router";
import { may, self } from "../session";
import { Button } from "../ui/button";
import { Field, Segments, Select, TextField } from "../ui/field";
import { Page, Panel } from "../ui/page";
import { ErrorNote, Show } from "../ui/state";
import { about, callsFor, costOfCall } from "./cost";
import { KeyCreated } from "./key-created";
import { type LimitTexts, limitsOf, parseUsd } from "./limits";
import { NO_SCOPE, ScopeBuilder, scopeOf, type ScopeTexts } from "./scope-builder";

const PRESETS: readonly { readonly label: string; readonly hint: string; readonly limits: LimitTexts; readonly days: string }[] = [
  { label: "Try it out", hint: "$1, 50 calls, one day", limits: { spend: "1", calls: "50", tokens: "" }, days: "1" },
  { label: "One task", hint: "$5, a week", limits: { spend: "5", calls: "", tokens: "" }, days: "7" },
  { label: "A job in CI", hint: "$2, 200 calls, one day", limits: { spend: "2", calls: "200", tokens: "" }, days: "1" },
  { label: "A person", hint: "$50, 30 days", limits: { spend: "50", calls: "", tokens: "" }, days: "30" },
  { label: "A demo", hint: "20 calls, one day", limits: { spend: "", calls: "20", tokens: "" }, days: "1" },
];

interface Choices {
  readonly providers: readonly Provider[];
  readonly credentials: readonly Credential[];
  readonly projects: readonly Project[];
}

export function KeyCreatePage() {
  const [created, setCreated] = useState<{ key: CreatedKey; provider: Provider | null } | null>(null);
  const choices = useLoad<Choices>(async (signal) => {
    const [providers, credentials, projects] = await Promise.all([
      call<{ providers: readonly Provider[] }>("GET", "/admin/providers", { signal }),
      call<{ credentials: readonly Credential[] }>("GET", "/admin/credentials", { query: { limit: 1000 }, signal }),
      call<{ projects: readonly Project[] }>("GET", "/admin/projects", { query: { limit: 1000 }, signal }),
    ]);
    return { providers: providers.providers, credentials: credentials.credentials, projects: projects.projects };
  }, []);
  if (created !== null) return <KeyCreated of={created.key} provider={created.provider} onAgain={() => setCreated(null)} />;
  return (
    <Page title="Create a key">
      <Show loaded={choices}>{(loaded) => <Form choices={loaded} onCreated={(key, provider) => setCreated({ key, provider })} />}</Show>
    </Page>
  );
}

/** `7`, which is days, or `12h`; 0 for what is no length of time. */
function secondsOf(text: string): number {
  const days = parseWhole(text);
  return days === null ? (parseSpan(text) ?? 0) : days * 86_400;
}

interface FormProps {
  readonly choices: Choices;
  readonly onCreated: (key: CreatedKey, provider: Provider | null) => void;
}

function Form({ choices, onCreated }: FormProps) {
  const usable = choices.credentials.filter((one) => one.usable);
  const [from, setFrom] = useState(usable.length > 0 ? "stored" : "pasted");
  const [credential, setCredential] = useState(usable[0]?.name ?? "");
  const [providerId, setProvider] = useState("openai");
  const [upstreamKey, setUpstreamKey] = useState("");
  const [name, setName] = useState("");
  const [project, setProject] = useState(self.value?.project ?? "");
  const [limits, setLimits] = useState<LimitTexts>(PRESETS[1]?.limits ?? { spend: "", calls: "", tokens: "" });
  const [days, setDays] = useState(PRESETS[1]?.days ?? "");
  const [scope, setScope] = useState<ScopeTexts>(NO_SCOPE);
  const [perMinute, setPerMinute] = useState("");
  const [atOnce, setAtOnce] = useState("");
  const [handOver, setHandOver] = useState("now");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [isTried, setTried] = useState(false);

  const stored = usable.find((one) => one.name === credential);
  const provider = (from === "stored" ? stored?.provider : providerId) ?? providerId;
  const facts = choices.providers.find((one) => one.id === provider) ?? null;
  const prices = useLoad(
    async (signal) => (await call<{ prices: readonly Price[] }>("GET", "/admin/prices", { query: { provider }, signal })).prices,
    [provider],
  );
  const limit = limitsOf(limits);
  const scoped = scopeOf(scope);
  const number = (text: string) => (text.trim() === "" ? null : parseWhole(text));
  const isNumber = (text: string) => text.trim() === "" || (number(text) ?? 0) > 0;
  const whole = "A whole number above 0.";
  const seconds = days.trim() === "" ? null : secondsOf(days);
  const isSound = Object.keys(limit.errors).length === 0 && scoped.error === null && seconds !== 0 && [perMinute, atOnce].every(isNumber);

  const submit = async (event: Event) => {
    event.preventDefault();
    setTried(true);
    if (!isSound || isBusy) return;
    setBusy(true);
    setError(null);
    const rate = {
      ...(number(perMinute) !== null && { requests_per_minute: number(perMinute) }),
      ...(number(atOnce) !== null && { concurrent: number(atOnce) }),
    };
    const body = {
      ...limit.body,
      ...(from === "stored" ? { upstream: credential } : { provider: providerId, upstream_key: upstreamKey.trim() }),
      ...(name.trim() !== "" && { name: name.trim() }),
      ...(project !== "" && { project }),
      ...(seconds !== null && { ttl_seconds: seconds }),
      ...(scoped.scope !== null && { scope: scoped.scope }),
      ...(Object.keys(rate).length > 0 && { rate }),
      ...(handOver === "link" && { claim_ttl_seconds: 3600 }),
    };
    try {
      const { key } = await call<{ key: CreatedKey }>("POST", "/admin/keys", { body });
      setUpstreamKey("");
      onCreated(key, facts);
    } catch (caught) {
      setError(asApiError(caught));
      setBusy(false);
    }
  };

  return (
    <form onSubmit={(event) => void submit(event)}>
      <Panel title="1. Which real key it stands for">
        <Segments
          label="Which real key"
          value={from}
          onChange={setFrom}
          choices={[
            { value: "stored", label: "A stored credential" },
            { value: "pasted", label: "A key that I paste" },
          ]}
        />
        <div class="fields spaced">
          {from === "stored" ? (
            usable.length > 0 ? (
              <Select
                label="Credential"
                value={credential}
                choices={usable.map((one) => ({ value: one.name, label: `${one.name} (${one.provider})` }))}
                onChange={setCredential}
              />
            ) : (
              <p>
                No credential is stored that you may mint from.{" "}
                {may("credentials.write") ? <Link to="/admin/credentials">Store one</Link> : "Ask an admin to store one"}, or paste a key.
              </p>
            )
          ) : (
            <>
              <Select
                label="Provider"
                value={providerId}
                choices={choices.providers.filter((one) => one.baseUrl !== null).map((one) => ({ value: one.id, label: one.name }))}
                onChange={setProvider}
              />
              <TextField
                label="Real key"
                type="password"
                value={upstreamKey}
                onInput={setUpstreamKey}
                autocomplete="off"
                required
                hint="It is sealed into the scoped key and stored nowhere."
              />
            </>
          )}
          <TextField label="Name" value={name} onInput={setName} maxLength={256} hint="What you will look for: who uses it, and what for." />
          {self.value?.project === null && choices.projects.length > 1 && (
            <Select
              label="Project"
              value={project}
              choices={[{ value: "", label: "default" }, ...choices.projects.filter((one) => one.id !== "default").map((one) => ({ value: one.id, label: one.name || one.id }))]}
              onChange={setProject}
            />
          )}
        </div>
      </Panel>
      <Panel title="2. How much it is good for">
        <div class="actions presets" role="group" aria-label="Presets">
          {PRESETS.map((preset) => (
            <Button
              key={preset.label}
              title={preset.hint}
              onClick={() => {
                setLimits(preset.limits);
                setDays(preset.days);
              }}
            >
              {preset.label}
              <small>{preset.hint}</small>
            </Button>
          ))}
        </div>
        <div class="fields">
          <TextField label="Money, US dollars" value={limits.spend} onInput={(spend) => setLimits({ ...limits, spend })} inputMode="decimal" error={limit.errors.spend} />
          <TextField label="Tokens" value={limits.tokens} onInput={(tokens) => setLimits({ ...limits, tokens })} error={limit.errors.tokens} hint="Input and output together." />
          <TextField label="Calls" value={limits.calls} onInput={(calls) => setLimits({ ...limits, calls })} error={limit.errors.calls} />
          <TextField label="Days until it ends" value={days} onInput={setDays} error={seconds === 0 ? "A number of days, or a length of time such as 12h." : null} hint="Or a length of time, such as 12h. Empty is never." />
        </div>
        {isTried && limit.errors.all !== undefined && (
          <p class="field-error" role="alert">
            {limit.errors.all}
          </p>
        )}
        <Cost spend={limits.spend} prices={prices.data ?? []} />
        <details>
          <summary>How often it may be used</summary>
          <div class="fields spaced">
            <TextField label="Calls per minute" value={perMinute} onInput={setPerMinute} inputMode="numeric" error={isNumber(perMinute) ? null : whole} />
            <TextField label="Calls at the same time" value={atOnce} onInput={setAtOnce} inputMode="numeric" error={isNumber(atOnce) ? null : whole} />
          </div>
        </details>
      </Panel>
      <Panel title="3. What it may call">
        <ScopeBuilder value={scope} onChange={setScope} models={(prices.data ?? []).map((price) => price.model)} />
      </Panel>
      <Panel title="4. How it gets to who uses it">
        <Segments
          label="How it is handed over"
          value={handOver}
          onChange={setHandOver}
          choices={[
            { value: "now", label: "Show it to me, once" },
            { value: "link", label: "A link that shows it once, for an hour" },
          ]}
        />
        <p class="hint">Either way it is seen once, and stored nowhere.</p>
      </Panel>
      {error && <ErrorNote error={error} />}
      <p class="actions">
        <Button type="submit" kind="main" busy={isBusy} disabled={from === "stored" && stored === undefined}>
          Create the key
        </Button>
        <Button onClick={() => navigate("/keys")}>Cancel</Button>
        {isTried && !isSound && (
          <span class="field-error" role="alert">
            Some fields need another look.
          </span>
        )}
      </p>
    </form>
  );
}

/** What is explained first, if its price is known. */
const USUAL = ["gpt-5-mini", "gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"];

/** "$5 is about 400 calls of this model": what the limit comes to. */
function Cost({ spend, prices }: { readonly spend: string; readonly prices: readonly Price[] }) {
  const [model, setModel] = useState("");
  const [input, setInput] = useState("1500");
  const [output, setOutput] = useState("500");
  const amount = parseUsd(spend);
  const priced = prices.filter((price) => price.inputUsd !== null);
  if (amount === null || priced.length === 0) return null;
  const price = priced.find((one) => one.model === model) ?? priced.find((one) => USUAL.includes(one.model)) ?? priced[0];
  if (price === undefined) return null;
  const cost = costOfCall(price, parseWhole(input) ?? 0, parseWhole(output) ?? 0);
  const calls = cost === null ? null : callsFor(amount, cost);
  return (
    <div class="cost">
      <div class="fields">
        <Field label="Explained for">
          {(props) => (
            <select {...props} value={price.model} onChange={(event) => setModel(event.currentTarget.value)}>
              {priced.map((one) => (
                <option key={one.model} value={one.model}>
                  {one.model}
                </option>
              ))}
            </select>
          )}
        </Field>
        <TextField label="Input tokens per call" value={input} onInput={setInput} inputMode="numeric" />
        <TextField label="Output tokens per call" value={output} onInput={setOutput} inputMode="numeric" />
      </div>
      <p class="note" role="status">
        {cost === null || calls === null ? (
          "Such a call costs nothing."
        ) : (
          <>
            <b>{usd(amount)}</b> is about <b>{about(calls)} calls</b> of {price.model} with {input || "0"} tokens in and {output || "0"} out, at {usd(cost)} each.
          </>
        )}
      </p>
    </div>
  );
}
