// Talks to a running server with Vercel's `ai`, as its users' programs do.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { QUESTION, WEATHER, plainAnswer, run, server } from "./checks.mjs";

const at = await server();
const provider = createOpenAICompatible({
  name: "minerva",
  baseURL: `${at.url}/v1`,
  apiKey: at.key,
  supportsStructuredOutputs: true,
});
const model = provider(at.model);
const greedy = { model, temperature: 0, maxOutputTokens: 48, maxRetries: 0 };
const steps = isStepCount ?? stepCountIs;

await run("Vercel's ai", {
  "text is generated": async () => {
    const { text, usage, finishReason } = await generateText({ ...greedy, messages: QUESTION });
    assert.equal(text, await plainAnswer(at, { messages: QUESTION, temperature: 0, max_tokens: 48 }));
    assert.ok(usage.outputTokens > 0 && ["stop", "length"].includes(finishReason));
  },

  "text is streamed": async () => {
    const stream = streamText({ ...greedy, messages: QUESTION });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, await plainAnswer(at, { messages: QUESTION, temperature: 0, max_tokens: 48 }));
  },

  "an object obeys its schema": async () => {
    const schema = z.object({ city: z.string(), degrees: z.number().int() });
    const { output } = await generateText({
      ...greedy,
      maxOutputTokens: 200,
      prompt: WEATHER,
      output: Output.object({ schema }),
    });
    assert.ok(schema.parse(output));
  },

  "a tool is called and answered": async () => {
    const called = [];
    const weather = tool({
      description: "Get the weather in a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async (given) => {
        called.push(given);
        return { temperature: 21, condition: "sunny" };
      },
    });
    const { text } = await generateText({
      ...greedy,
      prompt: WEATHER,
      tools: { get_weather: weather },
      stopWhen: steps(3),
    });
    assert.deepEqual(called, [{ city: "Paris" }]);
    assert.match(text, /21/);
  },

  "a stream can be abandoned": async () => {
    const stopping = new AbortController();
    const stream = streamText({
      ...greedy,
      maxOutputTokens: 400,
      messages: QUESTION,
      abortSignal: stopping.signal,
      onError: () => {},
    });
    for await (const _ of stream.textStream) {
      stopping.abort();
      break;
    }
  },
});
