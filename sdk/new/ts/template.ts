// A template: makes the prompt of a conversation.

import { Prompt, Refused, Template, textOf, type About, type Chat } from "./minerva-plugin/index.js";

type Args = { instructions?: string };

const ROLES = new Map([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["assistant", "assistant"],
  ["tool", "tool"],
]);

export default class extends Template {
  static about: About = {
    version: "0.1.0",
    summary: "ChatML with instructions in front of every conversation.",
    args: {
      type: "object",
      additionalProperties: false,
      properties: {
        instructions: {
          type: "string",
          maxLength: 8192,
          default: "Answer briefly.",
          description: "Told to the model before everything else; empty for nothing.",
        },
      },
    },
  };

  static render(chat: Chat, { instructions = "Answer briefly." }: Args): Prompt {
    const messages = [...chat.messages];
    const last = messages.at(-1);
    if (last === undefined) throw new Refused("the conversation is empty");
    const prompt = new Prompt();
    if (instructions !== "") turn(prompt, "system", instructions);
    const begun = chat.continueLast && last.role === "assistant" ? messages.pop() : undefined;
    for (const message of messages) {
      const role = ROLES.get(message.role);
      if (role === undefined) {
        throw new Refused(`there is no role '${message.role}'; use system, user, assistant or tool`);
      }
      turn(prompt, role, textOf(message));
    }
    prompt.special("<|im_start|>assistant\n");
    if (begun !== undefined) prompt.text(textOf(begun));
    return prompt.stop("<|im_end|>");
  }
}

// A whole turn. The markup is the template's own; what people wrote goes in as text, where markup means nothing.
function turn(prompt: Prompt, role: string, text: string) {
  prompt.special(`<|im_start|>${role}\n`).text(text).special("<|im_end|>\n");
}
