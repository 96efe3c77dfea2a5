/* A stream processor: turns the text of an answer, as it comes, into events. */

#include <stdlib.h>
#include <string.h>

#include "minerva/minerva.h"

/* Its part in one answer. */
struct state {
    char *find, *replacement;
    /* What may be the beginning of what is looked for: it is kept back until that is clear. */
    char *kept;
    size_t kept_len;
};

static bool open(void *self, minerva_json args) {
    struct state *state = self;
    state->find = minerva_string(args, "find", "colour");
    state->replacement = minerva_string(args, "replacement", "color");
    return true;
}

/* The first place of a text in another, or NULL. */
static const char *find(minerva_text in, minerva_text what) {
    for (size_t i = 0; i + what.len <= in.len; i++) {
        if (memcmp(in.data + i, what.data, what.len) == 0) return in.data + i;
    }
    return NULL;
}

static void push(void *self, minerva_text text, minerva_tokens tokens, minerva_events *events) {
    struct state *state = self;
    state->kept = minerva_reallocate(state->kept, state->kept_len + text.len);
    memcpy(state->kept + state->kept_len, text.data, text.len);
    minerva_text rest = {state->kept, state->kept_len + text.len}, what = minerva_text_of(state->find);
    for (const char *at; (at = find(rest, what)) != NULL;) {
        minerva_say(events, (minerva_text) {rest.data, (size_t) (at - rest.data)});
        minerva_say(events, minerva_text_of(state->replacement));
        rest.len -= (size_t) (at - rest.data) + what.len;
        rest.data = at + what.len;
    }
    state->kept_len = minerva_begun_at_end(rest, what);
    size_t sure = rest.len - state->kept_len;
    minerva_say(events, (minerva_text) {rest.data, sure});
    memmove(state->kept, rest.data + sure, state->kept_len);
}

static void close(void *self, minerva_finish reason, minerva_events *events) {
    const struct state *state = self;
    minerva_say(events, (minerva_text) {state->kept, state->kept_len});
}

static void drop(void *self) {
    struct state *state = self;
    free(state->find);
    free(state->replacement);
    free(state->kept);
}

const minerva_stream plugin = {
    .version = "0.1.0",
    .summary = "Replaces a text by another, also where it comes in pieces.",
    .args_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "  \"find\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 256, \"default\": \"colour\","
        "           \"description\": \"What is replaced.\", \"examples\": [\"owl\", \"aab\"]},"
        "  \"replacement\": {\"type\": \"string\", \"maxLength\": 256, \"default\": \"color\","
        "                  \"description\": \"What stands in its place.\"}"
        "}}",
    .state_size = sizeof(struct state),
    .open = open,
    .push = push,
    .close = close,
    .drop = drop,
};
