// Embeddings by the `openai` package for JavaScript and Vercel's `ai`, from a server of a model that makes them.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany } from "ai";
import OpenAI from "openai";
import { run, server } from "./checks.mjs";

const at = await server();
const client = new OpenAI({ baseURL: `${at.url}/v1`, apiKey: at.key, maxRetries: 0 });
const provider = createOpenAICompatible({ name: "minerva", baseURL: `${at.url}/v1`, apiKey: at.key });
const model = provider.embeddingModel(at.model);
const input = ["A fox", "Another fox", "Füchse 🦊"];

function close(left, right) {
  assert.equal(left.length, right.length);
  left.forEach((number, place) => assert.ok(Math.abs(number - right[place]) < 1e-3, `place ${place}`));
}

await run("embeddings in JavaScript", {
  // The package asks for base64 by itself, and for floats where it is told to.
  "base64 and floats are the same numbers": async () => {
    const encoded = await client.embeddings.create({ model: at.model, input });
    const plain = await client.embeddings.create({ model: at.model, input, encoding_format: "float" });
    assert.equal(encoded.data.length, 3);
    encoded.data.forEach((entry, index) => close(entry.embedding, plain.data[index].embedding));
    const length = Math.hypot(...plain.data[0].embedding);
    assert.ok(Math.abs(length - 1) < 1e-3, `a length of ${length}`);
  },

  "ai embeds one and many": async () => {
    const { embeddings, usage } = await embedMany({ model, values: input });
    const { embedding } = await embed({ model, value: input[2] });
    assert.equal(embeddings.length, 3);
    close(embedding, embeddings[2]);
    assert.ok(usage.tokens > 3);
  },
});
