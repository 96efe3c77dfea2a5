/* A template: makes the prompt of a conversation. */

#include <stdlib.h>

#include "minerva/minerva.h"

/* A whole turn. The markup is the template's own; what people wrote goes in as text, where markup means nothing. */
static void turn(minerva_prompt *prompt, const char *role, minerva_text text) {
    minerva_prompt_special(prompt, "<|im_start|>");
    minerva_prompt_special(prompt, role);
    minerva_prompt_special(prompt, "\n");
    minerva_prompt_text(prompt, text);
    minerva_prompt_special(prompt, "<|im_end|>\n");
}

/* The role as markup. It comes from the client too, so only known ones pass. */
static const char *role_of(minerva_text role) {
    static const char *const known[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (minerva_text_is(role, known[i])) return known[i];
    }
    return minerva_text_is(role, "developer") ? "system" : NULL;
}

static bool render(const minerva_chat *chat, minerva_json args, minerva_prompt *prompt) {
    if (chat->message_count == 0) return minerva_refuse("the conversation is empty");
    char *instructions = minerva_string(args, "instructions", "Answer briefly.");
    if (*instructions != 0) turn(prompt, "system", minerva_text_of(instructions));
    free(instructions);

    const minerva_message *last = &chat->messages[chat->message_count - 1];
    bool is_open = chat->continue_last && minerva_text_is(last->role, "assistant");
    for (size_t i = 0; i < chat->message_count - (is_open ? 1 : 0); i++) {
        const minerva_message *message = &chat->messages[i];
        const char *role = role_of(message->role);
        if (role == NULL) {
            return minerva_refuse(
                "there is no role '%.*s'; use system, user, assistant or tool", (int) message->role.len,
                message->role.data
            );
        }
        turn(prompt, role, message->text);
    }
    minerva_prompt_special(prompt, "<|im_start|>assistant\n");
    if (is_open) minerva_prompt_text(prompt, last->text);
    minerva_prompt_stop(prompt, "<|im_end|>");
    return true;
}

const minerva_template plugin = {
    .version = "0.1.0",
    .summary = "ChatML with instructions in front of every conversation.",
    .args_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "  \"instructions\": {\"type\": \"string\", \"maxLength\": 8192, \"default\": \"Answer briefly.\","
        "                   \"description\": \"Told to the model before everything else; empty for nothing.\"}"
        "}}",
    .render = render,
};
