// The Node clients as a driver: one JSON job per line in, one JSON answer per line out.
import { createInterface } from "node:readline";
import { generateText, streamText } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const messages = [{ role: "user", content: "hi" }];

/** The AI SDK's two calls for one of its models. */
function aiSdk(model) {
  return {
    plain: async (url, key) => (await generateText({ model: model(url, key), messages })).text,
    streamed: async (url, key) => {
      let raised;
      const stream = streamText({ model: model(url, key), messages, onError: ({ error }) => { raised = error; } });
      let text = "";
      for await (const part of stream.textStream) text += part;
      if (raised) throw raised;
      return text;
    },
  };
}

const clients = {
  "ai-sdk-openai": aiSdk((url, key) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key })("gpt-4o-mini")),
  "ai-sdk-openai-chat": aiSdk((url, key) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat("gpt-4o-mini")),
  "ai-sdk-anthropic": aiSdk((url, key) => createAnthropic({ baseURL: `${url}/v1`, apiKey: key })("claude-sonnet-4-6")),
  "ai-sdk-google": aiSdk((url, key) => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })("gemini-2.5-flash")),
  openai: {
    plain: async (url, key) => {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
      return (await client.chat.completions.create({ model: "gpt-4o-mini", messages })).choices[0].message.content;
    },
    streamed: async (url, key) => {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
      let text = "";
      for await (const chunk of await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true })) {
        text += chunk.choices[0]?.delta?.content ?? "";
      }
      return text;
    },
  },
  anthropic: {
    plain: async (url, key) => {
      const client = new Anthropic({ baseURL: url, apiKey: key });
      return (await client.messages.create({ model: "claude-sonnet-4-6", max_tokens: 64, messages })).content[0].text;
    },
    streamed: async (url, key) => {
      const client = new Anthropic({ baseURL: url, apiKey: key });
      return await client.messages.stream({ model: "claude-sonnet-4-6", max_tokens: 64, messages }).finalText();
    },
  },
  "google-genai": {
    plain: async (url, key) => {
      const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
      return (await client.models.generateContent({ model: "gemini-2.5-flash", contents: "hi" })).text;
    },
    streamed: async (url, key) => {
      const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
      let text = "";
      for await (const part of await client.models.generateContentStream({ model: "gemini-2.5-flash", contents: "hi" })) {
        text += part.text ?? "";
      }
      return text;
    },
  },
};

async function run(job) {
  try {
    return { text: await clients[job.client][job.mode](job.url, job.key) };
  } catch (error) {
    const status = error.status ?? error.statusCode ?? null;
    return { error: { name: error.name, type: error.constructor.name, status, message: error.message } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))));
}
