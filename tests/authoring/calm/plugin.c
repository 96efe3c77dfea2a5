#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "minerva/minerva.h"

#define LATEST 8

struct state {
    minerva_set words;
    int steps;
};

static bool open(void *self, minerva_json args, minerva_tokens prompt) {
    struct state *state = self;
    if (!minerva_set_matching(".*\\d.*", &state->words)) return false;
    minerva_set_invert(state->words);
    return true;
}

static void advance(void *self, minerva_tokens committed) {
    struct state *state = self;
    state->steps += (int) committed.count;
    minerva_allow(state->words);
}

static minerva_choice pick(void *self, minerva_candidates cut) {
    uint32_t latest[LATEST];
    float less[LATEST];
    size_t count = minerva_history(latest, LATEST);
    for (size_t i = 0; i < count; i++) less[i] = -1.0f;
    minerva_bias(latest, less, count);
    minerva_row_summary row = minerva_summarize();
    minerva_temperature(row.entropy > 2.0f ? 0.5f : 1.0f);
    return minerva_host();
}

static bool fork(const void *self, void *copy) {
    return open(copy, (minerva_json) {"{}"}, (minerva_tokens) {NULL, 0});
}

static bool rollback(void *self, uint32_t count) {
    struct state *state = self;
    state->steps -= (int) count;
    return true;
}

static char *close(void *self) {
    const struct state *state = self;
    char *meta = malloc(64);
    snprintf(meta, 64, "{\"steps\": %d}", state->steps);
    return meta;
}

static void drop(void *self) {
    struct state *state = self;
    minerva_set_drop(state->words);
}

const minerva_sampler plugin = {
    .version = "1.0.0",
    .summary = "Says no digits, repeats itself less, and is calmer where it is unsure.",
    .args_schema = "{\"type\": \"object\", \"additionalProperties\": false}",
    .cut = 64,
    .reads_row = true,
    .can_fork = true,
    .can_rollback = true,
    .state_size = sizeof(struct state),
    .open = open,
    .advance = advance,
    .pick = pick,
    .fork = fork,
    .rollback = rollback,
    .close = close,
    .drop = drop,
};
