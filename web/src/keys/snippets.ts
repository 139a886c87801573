// How a new key is used, ready to be copied: the official SDK where there is one, and curl.

export interface Snippet {
  readonly id: string;
  readonly title: string;
  readonly text: string;
}

export interface SnippetFacts {
  readonly provider: string;
  /** What the SDK takes as base URL. */
  readonly baseUrl: string;
  readonly keyEnv: string | null;
  readonly key: string;
  readonly model: string | null;
}

interface Kind {
  /** The variable that the SDK reads its base URL from. */
  readonly baseEnv: string | null;
  readonly model: string;
  readonly python: (facts: SnippetFacts, model: string) => string;
  readonly typescript: (facts: SnippetFacts, model: string) => string;
  readonly curl: (facts: SnippetFacts, model: string) => string;
}

/** As a string of Python, TypeScript and JSON. */
const quoted = (text: string): string => JSON.stringify(text);

/** As one word of a shell. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const openai: Kind = {
  baseEnv: "OPENAI_BASE_URL",
  model: "gpt-4o-mini",
  python: ({ baseUrl, key }, model) => `from openai import OpenAI

client = OpenAI(
    base_url=${quoted(baseUrl)},
    api_key=${quoted(key)},
)
answer = client.chat.completions.create(
    model=${quoted(model)},
    messages=[{"role": "user", "content": "Say hello."}],
)
print(answer.choices[0].message.content)
`,
  typescript: ({ baseUrl, key }, model) => `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quoted(baseUrl)},
  apiKey: ${quoted(key)},
});
const answer = await client.chat.completions.create({
  model: ${quoted(model)},
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(answer.choices[0].message.content);
`,
  curl: ({ baseUrl, key }, model) => `curl ${shellWord(`${baseUrl}/chat/completions`)} \\
  -H ${shellWord(`Authorization: Bearer ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${shellWord(JSON.stringify({ model, messages: [{ role: "user", content: "Say hello." }] }))}
`,
};

const anthropic: Kind = {
  baseEnv: "ANTHROPIC_BASE_URL",
  model: "claude-haiku-4-5",
  python: ({ baseUrl, key }, model) => `from anthropic import Anthropic

client = Anthropic(
    base_url=${quoted(baseUrl)},
    api_key=${quoted(key)},
)
answer = client.messages.create(
    model=${quoted(model)},
    max_tokens=256,
    messages=[{"role": "user", "content": "Say hello."}],
)
print(answer.content[0].text)
`,
  typescript: ({ baseUrl, key }, model) => `import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: ${quoted(baseUrl)},
  apiKey: ${quoted(key)},
});
const answer = await client.messages.create({
  model: ${quoted(model)},
  max_tokens: 256,
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(answer.content);
`,
  curl: ({ baseUrl, key }, model) => `curl ${shellWord(`${baseUrl}/v1/messages`)} \\
  -H ${shellWord(`x-api-key: ${key}`)} \\
  -H 'anthropic-version: 2023-06-01' \\
  -H 'Content-Type: application/json' \\
  -d ${shellWord(JSON.stringify({ model, max_tokens: 256, messages: [{ role: "user", content: "Say hello." }] }))}
`,
};

const google: Kind = {
  baseEnv: "GOOGLE_GEMINI_BASE_URL",
  model: "gemini-2.5-flash",
  python: ({ baseUrl, key }, model) => `from google import genai

client = genai.Client(
    api_key=${quoted(key)},
    http_options={"base_url": ${quoted(baseUrl)}},
)
answer = client.models.generate_content(
    model=${quoted(model)},
    contents="Say hello.",
)
print(answer.text)
`,
  typescript: ({ baseUrl, key }, model) => `import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({
  apiKey: ${quoted(key)},
  httpOptions: { baseUrl: ${quoted(baseUrl)} },
});
const answer = await client.models.generateContent({
  model: ${quoted(model)},
  contents: "Say hello.",
});
console.log(answer.text);
`,
  curl: ({ baseUrl, key }, model) => `curl ${shellWord(`${baseUrl}/v1beta/models/${encodeURIComponent(model)}:generateContent`)} \\
  -H ${shellWord(`x-goog-api-key: ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${shellWord(JSON.stringify({ contents: [{ parts: [{ text: "Say hello." }] }] }))}
`,
};

const KINDS: Readonly<Record<string, Kind>> = { openai, anthropic, google };

/** Providers whose API the SDK of OpenAI speaks as well, and what it needs behind the base URL of their own SDK. */
const LIKE_OPENAI: Readonly<Record<string, string>> = {
  cerebras: "/v1",
  deepseek: "",
  fireworks: "/inference/v1",
  groq: "/openai/v1",
  huggingface: "",
  mistral: "/v1",
  openrouter: "",
  perplexity: "",
  together: "/v1",
  xai: "",
  zai: "",
};

export function snippets(facts: SnippetFacts): readonly Snippet[] {
  const known = KINDS[facts.provider];
  const behind = LIKE_OPENAI[facts.provider];
  const kind = known ?? (behind === undefined ? null : openai);
  const like: SnippetFacts = { ...facts, baseUrl: facts.baseUrl + (behind ?? "") };
  // Nobody knows the models of the others: a word that says what to put there.
  const model = facts.model ?? known?.model ?? "MODEL";
  const lines: string[] = [];
  if (facts.keyEnv !== null) lines.push(`export ${facts.keyEnv}=${shellWord(facts.key)}`);
  else lines.push(`export API_KEY=${shellWord(facts.key)}`);
  lines.push(`export ${known?.baseEnv ?? "BASE_URL"}=${shellWord(facts.baseUrl)}`);
  const env: Snippet = { id: "env", title: "Environment", text: `${lines.join("\n")}\n` };
  if (kind === null) {
    const call = `curl ${shellWord(`${facts.baseUrl}/`)} \\\n  -H ${shellWord(`Authorization: Bearer ${facts.key}`)}\n`;
    return [env, { id: "curl", title: "curl", text: call }];
  }
  return [
    env,
    { id: "python", title: "Python", text: kind.python(like, model) },
    { id: "typescript", title: "TypeScript", text: kind.typescript(like, model) },
    { id: "curl", title: "curl", text: kind.curl(like, model) },
  ];
}
