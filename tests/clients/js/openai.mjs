// Talks to a running server with the `openai` package for JavaScript, as its users' programs do.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { GREEDY, QUESTION, WEATHER, plainAnswer, run, server } from "./checks.mjs";

const at = await server();
const client = new OpenAI({ baseURL: `${at.url}/v1`, apiKey: at.key, maxRetries: 0, timeout: 120_000 });
const ask = (more) => client.chat.completions.create({ model: at.model, messages: QUESTION, ...GREEDY, ...more });
const text = async (more) => (await ask(more)).choices[0].message.content;
const City = z.object({ city: z.string(), degrees: z.number().int() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "get_weather", description: "Get the weather in a city", parameters };

await run("openai for JavaScript", {
  "models are listed and found": async () => {
    const models = await client.models.list();
    assert.equal(models.data.length, 1);
    assert.equal((await client.models.retrieve(at.model)).id, at.model);
  },

  "a chat is answered, streamed or not": async () => {
    const answer = await ask();
    assert.equal(answer.choices[0].message.content, await plainAnswer(at, { messages: QUESTION, ...GREEDY }));
    let streamed = "";
    let usage;
    for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
      streamed += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(streamed, answer.choices[0].message.content);
    assert.equal(usage.total_tokens, answer.usage.total_tokens);
  },

  "the helper for streams puts the answer together": async () => {
    const runner = client.chat.completions.stream({ model: at.model, messages: QUESTION, ...GREEDY });
    assert.equal(await runner.finalContent(), await text());
  },

  "sixteen requests run side by side": async () => {
    const texts = await Promise.all(Array.from({ length: 16 }, () => text()));
    assert.deepEqual(new Set(texts), new Set([await text()]));
  },

  "an abandoned stream does no harm": async () => {
    const stream = await ask({ stream: true, max_tokens: 400 });
    for await (const _ of stream) break;
    assert.ok(await text());
  },

  "an answer is parsed by a schema": async () => {
    const parsed = await client.chat.completions.parse({
      model: at.model,
      messages: [{ role: "user", content: WEATHER }],
      temperature: 0,
      max_tokens: 200,
      response_format: zodResponseFormat(City, "city"),
    });
    const { city, degrees } = parsed.choices[0].message.parsed;
    assert.ok(typeof city === "string" && Number.isInteger(degrees));
  },

  "tools are called by the SDK's runner": async () => {
    const called = [];
    const tool = {
      type: "function",
      function: {
        ...weather,
        parse: JSON.parse,
        function: (given) => {
          called.push(given);
          return { temperature: 21, condition: "sunny" };
        },
      },
    };
    const runner = client.chat.completions.runTools({
      model: at.model,
      messages: [{ role: "user", content: WEATHER }],
      tools: [tool],
      temperature: 0,
      max_tokens: 64,
    });
    const said = await runner.finalContent();
    assert.deepEqual(called, [{ city: "Paris" }]);
    assert.match(said, /21/);
  },

  "responses are answered and streamed": async () => {
    const asked = { model: at.model, input: QUESTION[0].content, temperature: 0, max_output_tokens: 48 };
    const whole = await client.responses.create(asked);
    assert.equal(whole.output_text, await text());
    const kinds = [];
    for await (const event of await client.responses.create({ ...asked, stream: true })) kinds.push(event.type);
    assert.deepEqual([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
  },

  "completions continue prompts": async () => {
    const answer = await client.completions.create({ model: at.model, prompt: ["One, two,", "Once upon"], ...GREEDY });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  },

  "mistakes raise the right errors": async () => {
    await assert.rejects(ask({ temperature: "hot" }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.param, "temperature");
      return true;
    });
    await assert.rejects(client.embeddings.create({ model: at.model, input: "a" }), (error) => error.status === 501);
  },
});
