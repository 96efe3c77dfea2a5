// What the scripts of this folder share: how a mismatch is raised, and how the checks are run.

import assert from "node:assert/strict";

export const QUESTION = [{ role: "user", content: "What is a plugin?" }];
export const WEATHER = "What is the weather in Paris?";
export const GREEDY = { temperature: 0, max_tokens: 48 };

/** Where the server is, and what it serves. */
export async function server() {
  const [url, key = "none"] = process.argv.slice(2);
  assert.ok(url, "usage: node SCRIPT http://127.0.0.1:8080 [API key]");
  const models = await (await fetch(`${url}/v1/models`)).json();
  return { url: url.replace(/\/$/, ""), key, model: models.data[0].id };
}

/** The text of the answer, asked without any library. */
export async function plainAnswer({ url, key }, body) {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 200);
  return (await answer.json()).choices[0].message.content;
}

/** Runs the checks, prints what came of each, and ends with how many failed. */
export async function run(name, checks) {
  let failed = 0;
  for (const [what, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok      ${what}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${what}: ${error.stack}`);
    }
  }
  const count = Object.keys(checks).length;
  console.log(`${name}: ${count - failed} of ${count} checks hold`);
  process.exit(failed);
}
