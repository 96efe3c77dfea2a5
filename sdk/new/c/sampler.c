/* A sampler: sees the best candidates of every step, and says which of them may be chosen. */

#include <math.h>

#include "minerva/minerva.h"

/* Its part in one answer. */
struct state {
    /* How far below the best logit a token may be. */
    float margin;
};

static bool open(void *self, minerva_json args, minerva_tokens prompt) {
    struct state *state = self;
    state->margin = (float) log(minerva_number(args, "p", 0.1));
    return true;
}

static minerva_choice pick(void *self, minerva_candidates cut) {
    const struct state *state = self;
    float least = cut.logits[0] + state->margin;
    size_t count = 1;
    while (count < cut.count && cut.logits[count] >= least) count++;
    return minerva_only(cut.ids, count);
}

const minerva_sampler plugin = {
    .version = "0.1.0",
    .summary = "Keeps the tokens that are probable enough beside the best one.",
    .args_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "  \"p\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1, \"default\": 0.1,"
        "        \"description\": \"Keep tokens at least this probable, relative to the best one.\"}"
        "}}",
    /* The best 64 candidates. Nothing is remembered between tokens, so forks and rollbacks are easy. */
    .cut = 64,
    .can_fork = true,
    .can_rollback = true,
    .state_size = sizeof(struct state),
    .open = open,
    .pick = pick,
};
