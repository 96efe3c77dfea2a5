/* A template behind the interface: the constant `plugin`. */
#include "minerva.h"

#include <stdlib.h>
#include <string.h>

#include "plugin.h"

extern const minerva_template plugin;

typedef exports_minerva_plugin_template_part_t part;
typedef exports_minerva_plugin_template_message_t given_message;

struct minerva_prompt {
    exports_minerva_plugin_template_prompt_t made;
};

void exports_minerva_plugin_template_describe(exports_minerva_plugin_template_about_t *to) {
    plugin_string_dup(&to->version, plugin.version);
    plugin_string_dup(&to->summary, plugin.summary);
    plugin_string_dup(&to->args_schema, plugin.args_schema == NULL ? "" : plugin.args_schema);
}

static minerva_text text_of(const plugin_string_t *from) {
    return (minerva_text) {(const char *) from->ptr, from->len};
}

static minerva_text text_if(const plugin_option_string_t *from) {
    return from->is_some ? text_of(&from->val) : (minerva_text) {NULL, 0};
}

/* JSON has to end with a zero. Allocated. */
static minerva_json json_of(const plugin_string_t *from) {
    char *json = minerva_allocate(from->len + 1);
    memcpy(json, from->ptr, from->len);
    json[from->len] = 0;
    return (minerva_json) {json};
}

/* The content's text in one piece. Allocated. */
static minerva_text joined(const exports_minerva_plugin_template_list_content_t *content) {
    size_t len = 0;
    for (size_t i = 0; i < content->len; i++) len += content->ptr[i].val.text.len;
    char *data = minerva_allocate(len), *to = data;
    for (size_t i = 0; i < content->len; i++) {
        const plugin_string_t *text = &content->ptr[i].val.text;
        memcpy(to, text->ptr, text->len);
        to += text->len;
    }
    return (minerva_text) {data, len};
}

static minerva_message message_of(const given_message *given) {
    size_t count = given->tool_calls.len;
    minerva_tool_call *calls = minerva_allocate(count * sizeof *calls);
    for (size_t i = 0; i < count; i++) {
        const exports_minerva_plugin_template_tool_call_t *call = &given->tool_calls.ptr[i];
        calls[i] = (minerva_tool_call) {text_of(&call->id), text_of(&call->name), text_of(&call->arguments)};
    }
    return (minerva_message) {
        .role = text_of(&given->role),
        .text = joined(&given->content),
        .name = text_if(&given->name),
        .tool_call_id = text_if(&given->tool_call_id),
        .reasoning = text_if(&given->reasoning),
        .tool_calls = calls,
        .tool_call_count = count,
    };
}

bool exports_minerva_plugin_template_render(
    exports_minerva_plugin_template_chat_t *given, plugin_string_t *args,
    exports_minerva_plugin_template_prompt_t *to, plugin_string_t *words
) {
    minerva_message *messages = minerva_allocate(given->messages.len * sizeof *messages);
    for (size_t i = 0; i < given->messages.len; i++) messages[i] = message_of(&given->messages.ptr[i]);
    minerva_json *tools = minerva_allocate(given->tools.len * sizeof *tools);
    for (size_t i = 0; i < given->tools.len; i++) tools[i] = json_of(&given->tools.ptr[i]);
    minerva_json json = json_of(args), variables = json_of(&given->variables);
    minerva_chat chat = {
        .messages = messages,
        .message_count = given->messages.len,
        .tools = tools,
        .tool_count = given->tools.len,
        .variables = variables,
        .continue_last = given->continue_last,
    };
    minerva_prompt prompt = {0};
    bool is_made = plugin.render(&chat, json, &prompt);
    if (is_made) {
        *to = prompt.made;
    } else {
        exports_minerva_plugin_template_prompt_free(&prompt.made);
        plugin_string_dup(words, minerva_error());
    }
    for (size_t i = 0; i < chat.message_count; i++) {
        free((void *) messages[i].text.data);
        free((void *) messages[i].tool_calls);
    }
    for (size_t i = 0; i < chat.tool_count; i++) free((void *) tools[i].at);
    free(messages);
    free(tools);
    free((void *) json.at);
    free((void *) variables.at);
    plugin_string_free(args);
    exports_minerva_plugin_template_chat_free(given);
    return is_made;
}

/* ---- What `render` fills ---- */

static part *new_part(minerva_prompt *prompt, uint8_t tag) {
    exports_minerva_plugin_template_list_part_t *parts = &prompt->made.parts;
    parts->ptr = minerva_reallocate(parts->ptr, (parts->len + 1) * sizeof *parts->ptr);
    part *made = &parts->ptr[parts->len++];
    *made = (part) {.tag = tag};
    return made;
}

/* To the end of the last part, if it is of the same kind: markup that is split is other tokens. */
static void add(minerva_prompt *prompt, uint8_t tag, minerva_text text) {
    if (text.len == 0) return;
    exports_minerva_plugin_template_list_part_t *parts = &prompt->made.parts;
    bool goes_on = parts->len > 0 && parts->ptr[parts->len - 1].tag == tag;
    plugin_string_t *to = &(goes_on ? &parts->ptr[parts->len - 1] : new_part(prompt, tag))->val.text;
    to->ptr = minerva_reallocate(to->ptr, to->len + text.len);
    memcpy(to->ptr + to->len, text.data, text.len);
    to->len += text.len;
}

void minerva_prompt_special(minerva_prompt *prompt, const char *string) {
    add(prompt, EXPORTS_MINERVA_PLUGIN_TEMPLATE_PART_SPECIAL, minerva_text_of(string));
}

void minerva_prompt_text(minerva_prompt *prompt, minerva_text text) {
    add(prompt, EXPORTS_MINERVA_PLUGIN_TEMPLATE_PART_TEXT, text);
}

void minerva_prompt_tokens(minerva_prompt *prompt, minerva_tokens tokens) {
    if (tokens.count == 0) return;
    part *made = new_part(prompt, EXPORTS_MINERVA_PLUGIN_TEMPLATE_PART_TOKENS);
    made->val.tokens.ptr = minerva_allocate(tokens.count * sizeof *tokens.ids);
    made->val.tokens.len = tokens.count;
    memcpy(made->val.tokens.ptr, tokens.ids, tokens.count * sizeof *tokens.ids);
}

void minerva_prompt_stop(minerva_prompt *prompt, const char *string) {
    plugin_list_string_t *stops = &prompt->made.stops;
    stops->ptr = minerva_reallocate(stops->ptr, (stops->len + 1) * sizeof *stops->ptr);
    plugin_string_dup(&stops->ptr[stops->len++], string);
}

void minerva_prompt_obey(minerva_prompt *prompt, minerva_notation notation, const char *source) {
    exports_minerva_plugin_template_option_tuple2_notation_string_free(&prompt->made.grammar);
    prompt->made.grammar.is_some = true;
    prompt->made.grammar.val.f0 = (exports_minerva_plugin_template_notation_t) notation;
    plugin_string_dup(&prompt->made.grammar.val.f1, source);
}
