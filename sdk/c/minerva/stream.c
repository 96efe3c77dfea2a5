/* A stream processor behind the interface: the constant `plugin`. */
#include "minerva.h"

#include <stdlib.h>
#include <string.h>

#include "plugin.h"

extern const minerva_stream plugin;

typedef exports_minerva_plugin_streaming_session_t session;
typedef exports_minerva_plugin_streaming_own_session_t own_session;
typedef exports_minerva_plugin_streaming_event_t event;

struct exports_minerva_plugin_streaming_session_t {
    /* Of what alignment and size the state may be. */
    _Alignas(max_align_t) unsigned char state[1];
};

struct minerva_events {
    exports_minerva_plugin_streaming_list_event_t made;
};

void exports_minerva_plugin_streaming_describe(exports_minerva_plugin_streaming_about_t *to) {
    plugin_string_dup(&to->version, plugin.version);
    plugin_string_dup(&to->summary, plugin.summary);
    plugin_string_dup(&to->args_schema, plugin.args_schema == NULL ? "" : plugin.args_schema);
}

bool exports_minerva_plugin_streaming_static_session_open(
    plugin_string_t *args, own_session *to, plugin_string_t *words
) {
    session *made = minerva_allocate(offsetof(session, state) + plugin.state_size);
    memset(made->state, 0, plugin.state_size);
    char *json = minerva_allocate(args->len + 1);
    memcpy(json, args->ptr, args->len);
    json[args->len] = 0;
    bool is_open = plugin.open == NULL || plugin.open(made->state, (minerva_json) {json});
    free(json);
    plugin_string_free(args);
    if (is_open) {
        *to = exports_minerva_plugin_streaming_session_new(made);
    } else {
        free(made);
        plugin_string_dup(words, minerva_error());
    }
    return is_open;
}

void exports_minerva_plugin_streaming_method_session_push(
    session *self, exports_minerva_plugin_streaming_chunk_t *chunk, exports_minerva_plugin_streaming_list_event_t *to
) {
    minerva_events events = {0};
    minerva_text text = {(const char *) chunk->text.ptr, chunk->text.len};
    plugin.push(self->state, text, (minerva_tokens) {chunk->tokens.ptr, chunk->tokens.len}, &events);
    exports_minerva_plugin_streaming_chunk_free(chunk);
    *to = events.made;
}

void exports_minerva_plugin_streaming_method_session_close(
    session *self, exports_minerva_plugin_streaming_finish_t reason, exports_minerva_plugin_streaming_list_event_t *to
) {
    minerva_events events = {0};
    if (plugin.close != NULL) plugin.close(self->state, (minerva_finish) reason, &events);
    *to = events.made;
}

void exports_minerva_plugin_streaming_session_destructor(session *self) {
    if (plugin.drop != NULL) plugin.drop(self->state);
    free(self);
}

/* ---- What `push` and `close` fill ---- */

static event *new_event(minerva_events *events, uint8_t tag) {
    exports_minerva_plugin_streaming_list_event_t *made = &events->made;
    made->ptr = minerva_reallocate(made->ptr, (made->len + 1) * sizeof *made->ptr);
    event *last = &made->ptr[made->len++];
    *last = (event) {.tag = tag};
    return last;
}

static void add(minerva_events *events, uint8_t tag, minerva_text text) {
    if (text.len == 0) return;
    exports_minerva_plugin_streaming_list_event_t *made = &events->made;
    bool goes_on = made->len > 0 && made->ptr[made->len - 1].tag == tag;
    plugin_string_t *to = &(goes_on ? &made->ptr[made->len - 1] : new_event(events, tag))->val.text;
    to->ptr = minerva_reallocate(to->ptr, to->len + text.len);
    memcpy(to->ptr + to->len, text.data, text.len);
    to->len += text.len;
}

void minerva_say(minerva_events *events, minerva_text text) {
    add(events, EXPORTS_MINERVA_PLUGIN_STREAMING_EVENT_TEXT, text);
}

void minerva_think(minerva_events *events, minerva_text text) {
    add(events, EXPORTS_MINERVA_PLUGIN_STREAMING_EVENT_REASONING, text);
}

static plugin_option_string_t string_if(const char *string) {
    plugin_option_string_t made = {.is_some = string != NULL};
    if (string != NULL) plugin_string_dup(&made.val, string);
    return made;
}

void minerva_tool(minerva_events *events, uint32_t index, const char *id, const char *name, minerva_text arguments) {
    exports_minerva_plugin_streaming_tool_delta_t *tool =
        &new_event(events, EXPORTS_MINERVA_PLUGIN_STREAMING_EVENT_TOOL)->val.tool;
    tool->index = index;
    tool->id = string_if(id);
    tool->name = string_if(name);
    plugin_string_dup_n(&tool->arguments, arguments.data, arguments.len);
}

void minerva_meta(minerva_events *events, const char *json) {
    plugin_string_dup(&new_event(events, EXPORTS_MINERVA_PLUGIN_STREAMING_EVENT_META)->val.meta, json);
}

void minerva_end(minerva_events *events, minerva_finish reason) {
    new_event(events, EXPORTS_MINERVA_PLUGIN_STREAMING_EVENT_STOP)->val.stop =
        (exports_minerva_plugin_streaming_finish_t) reason;
}
