// What a key may call, put together from lists and switches. What is empty allows everything.

import type { KeyScope, ScopeParameters } from "../api/types";
import { parseWhole } from "../format/number";
import { Select, TextArea, TextField } from "../ui/field";
import { Button } from "../ui/button";

export interface ScopeTexts {
  readonly endpoints: string;
  readonly models: string;
  readonly networks: string;
  readonly maxOutputTokens: string;
  readonly tools: string;
  readonly hostedTools: string;
  readonly imageInput: string;
  readonly store: string;
}

export const NO_SCOPE: ScopeTexts = {
  endpoints: "",
  models: "",
  networks: "",
  maxOutputTokens: "",
  tools: "",
  hostedTools: "",
  imageInput: "",
  store: "",
};

/** Words that stand for endpoints of a provider. */
const WORDS = ["chat", "embeddings", "images", "audio", "models", "read-only"];

const lines = (text: string): string[] =>
  text
    .split(/[\n,]/)
    .map((line) => line.trim())
    .filter((line) => line !== "");

const SWITCHES = [
  ["tools", "tools", "Tools that the caller runs"],
  ["hostedTools", "hosted_tools", "Tools that the provider runs"],
  ["imageInput", "image_input", "Images in the input"],
  ["store", "store", "Storing at the provider"],
] as const;

/** As the API takes it; `null` for one that allows everything, `error` for a number that is none. */
export function scopeOf(texts: ScopeTexts): { readonly scope: Readonly<Record<string, unknown>> | null; readonly error: string | null } {
  const scope: Record<string, unknown> = {};
  for (const name of ["endpoints", "models", "networks"] as const) {
    const list = lines(texts[name]);
    if (list.length > 0) scope[name] = list;
  }
  const parameters: Record<string, unknown> = {};
  for (const [name, field] of SWITCHES) if (texts[name] !== "") parameters[field] = texts[name] === "yes";
  if (texts.maxOutputTokens.trim() !== "") {
    const value = parseWhole(texts.maxOutputTokens);
    if (value === null || value === 0) return { scope: null, error: "A whole number above 0, such as 2000." };
    parameters["max_output_tokens"] = value;
  }
  if (Object.keys(parameters).length > 0) scope["parameters"] = parameters;
  return { scope: Object.keys(scope).length > 0 ? scope : null, error: null };
}

interface BuilderProps {
  readonly value: ScopeTexts;
  readonly onChange: (value: ScopeTexts) => void;
  readonly models: readonly string[];
}

export function ScopeBuilder({ value, onChange, models }: BuilderProps) {
  const set = (name: keyof ScopeTexts) => (text: string) => onChange({ ...value, [name]: text });
  const add = (name: "endpoints" | "models", text: string) => {
    if (!lines(value[name]).includes(text)) onChange({ ...value, [name]: [...lines(value[name]), text].join("\n") });
  };
  const { error } = scopeOf(value);
  return (
    <>
      <div class="fields">
        <div>
          <TextArea
            label="Endpoints"
            value={value.endpoints}
            onInput={set("endpoints")}
            placeholder={"chat\nGET /v1/models/*"}
            hint="One per line: a word, or a method and a path with * and **. Empty allows all that is not refused to every key."
          />
          <div class="actions" role="group" aria-label="Add endpoints">
            {WORDS.map((word) => (
              <Button key={word} kind="quiet" onClick={() => add("endpoints", word)}>
                + {word}
              </Button>
            ))}
          </div>
        </div>
        <div>
          <TextArea label="Models" value={value.models} onInput={set("models")} placeholder={"gpt-4o-mini\ngpt-5*"} hint="One per line; * stands for any characters. Empty allows all." />
          {models.length > 0 && (
            <Select
              label="Add a model"
              value=""
              choices={[{ value: "", label: "Choose …" }, ...models.map((model) => ({ value: model, label: model }))]}
              onChange={(model) => model !== "" && add("models", model)}
            />
          )}
        </div>
        <TextArea label="Networks" value={value.networks} onInput={set("networks")} placeholder={"10.0.0.0/8\n192.0.2.7"} hint="Where calls may come from, one address or network per line. Empty is everywhere." />
      </div>
      <div class="fields">
        {SWITCHES.map(([name, , label]) => (
          <Select
            key={name}
            label={label}
            value={value[name]}
            onChange={set(name)}
            choices={[
              { value: "", label: "As the caller likes" },
              { value: "yes", label: "Allowed" },
              { value: "no", label: "Refused" },
            ]}
          />
        ))}
        <TextField label="Most output tokens per call" value={value.maxOutputTokens} onInput={set("maxOutputTokens")} inputMode="numeric" error={error} />
      </div>
    </>
  );
}

/** A scope as text. */
export function ScopeFacts({ scope }: { readonly scope: KeyScope }) {
  const parameters: ScopeParameters = scope.parameters ?? {};
  const rows: (readonly [string, string])[] = [];
  for (const [title, list] of [
    ["Endpoints", scope.endpoints],
    ["Models", scope.models],
    ["Networks", scope.networks],
  ] as const) {
    rows.push([title, list ? list.join("\n") : "all"]);
  }
  for (const [name, , label] of SWITCHES) {
    const value = parameters[name];
    if (value !== undefined && value !== null) rows.push([label, value ? "allowed" : "refused"]);
  }
  if (parameters.maxOutputTokens) rows.push(["Most output tokens per call", String(parameters.maxOutputTokens)]);
  for (const [name, value] of Object.entries(parameters.values ?? {})) rows.push([name, JSON.stringify(value)]);
  return (
    <dl class="facts">
      {rows.map(([title, text]) => (
        <>
          <dt>
            <bdi>{title}</bdi>
          </dt>
          <dd class="lines">
            <bdi>{text.slice(0, 4000)}</bdi>
          </dd>
        </>
      ))}
    </dl>
  );
}
