/* A sampler behind the interface: the constant `plugin`, the step and what the host keeps for it. */
#include "minerva.h"

#include <stdlib.h>
#include <string.h>

#include "plugin.h"

extern const minerva_sampler plugin;
bool minerva_host_refused(plugin_string_t *words);

/* The names are long: these two are ours, and the host knows a session as `exports_..._session_t`. */
typedef exports_minerva_plugin_sampler_session_t session;
typedef exports_minerva_plugin_sampler_own_session_t own_session;

struct exports_minerva_plugin_sampler_session_t {
    /* Of what alignment and size the state may be. */
    _Alignas(max_align_t) unsigned char state[1];
};

static session *new_session(void) {
    session *made = minerva_allocate(offsetof(session, state) + plugin.state_size);
    memset(made->state, 0, plugin.state_size);
    return made;
}

void exports_minerva_plugin_sampler_describe(exports_minerva_plugin_sampler_descriptor_t *to) {
    plugin_string_dup(&to->about.version, plugin.version);
    plugin_string_dup(&to->about.summary, plugin.summary);
    plugin_string_dup(&to->about.args_schema, plugin.args_schema == NULL ? "" : plugin.args_schema);
    to->tier = plugin.full_row      ? EXPORTS_MINERVA_PLUGIN_SAMPLER_TIER_FULL_ROW
               : plugin.pick != NULL ? EXPORTS_MINERVA_PLUGIN_SAMPLER_TIER_CUT
                                     : EXPORTS_MINERVA_PLUGIN_SAMPLER_TIER_PLAN;
    to->cut = plugin.cut == 0 ? 64 : plugin.cut;
    to->reads_row = plugin.reads_row;
    to->can_fork = plugin.can_fork;
    to->can_rollback = plugin.can_rollback;
    to->backtrack_max = plugin.backtrack_max;
}

bool exports_minerva_plugin_sampler_static_session_open(
    plugin_string_t *args, exports_minerva_plugin_sampler_list_token_t *prompt, own_session *to, plugin_string_t *words
) {
    session *made = new_session();
    char *json = minerva_allocate(args->len + 1);
    memcpy(json, args->ptr, args->len);
    json[args->len] = 0;
    minerva_tokens tokens = {prompt->ptr, prompt->len};
    bool is_open = plugin.open == NULL || plugin.open(made->state, (minerva_json) {json}, tokens);
    free(json);
    plugin_string_free(args);
    exports_minerva_plugin_sampler_list_token_free(prompt);
    if (is_open) {
        *to = exports_minerva_plugin_sampler_session_new(made);
    } else {
        free(made);
        plugin_string_dup(words, minerva_error());
    }
    return is_open;
}

void exports_minerva_plugin_sampler_method_session_advance(
    session *self, exports_minerva_plugin_sampler_list_token_t *committed
) {
    if (plugin.advance != NULL) plugin.advance(self->state, (minerva_tokens) {committed->ptr, committed->len});
    exports_minerva_plugin_sampler_list_token_free(committed);
}

void exports_minerva_plugin_sampler_method_session_pick(
    session *self, exports_minerva_plugin_sampler_candidates_t *cut, exports_minerva_plugin_sampler_choice_t *to
) {
    minerva_candidates candidates = {cut->ids.ptr, cut->logits.ptr, cut->ids.len};
    minerva_choice choice = plugin.pick == NULL ? minerva_host() : plugin.pick(self->state, candidates);
    to->tag = choice.tag;
    if (choice.tag == EXPORTS_MINERVA_PLUGIN_SAMPLER_CHOICE_TOKEN) {
        to->val.token = choice.token;
    } else {
        to->val.only = (exports_minerva_plugin_sampler_list_token_t) {choice.ids, choice.count};
    }
    exports_minerva_plugin_sampler_candidates_free(cut);
}

bool exports_minerva_plugin_sampler_method_session_fork(session *self, own_session *to, plugin_string_t *words) {
    session *copy = new_session();
    memcpy(copy->state, self->state, plugin.state_size);
    if (plugin.fork != NULL && !plugin.fork(self->state, copy->state)) {
        free(copy);
        plugin_string_dup(words, minerva_error());
        return false;
    }
    *to = exports_minerva_plugin_sampler_session_new(copy);
    return true;
}

bool exports_minerva_plugin_sampler_method_session_rollback(session *self, uint32_t count, plugin_string_t *words) {
    bool is_done = plugin.rollback == NULL || plugin.rollback(self->state, count);
    if (!is_done) plugin_string_dup(words, minerva_error());
    return is_done;
}

bool exports_minerva_plugin_sampler_method_session_close(session *self, plugin_string_t *to) {
    char *meta = plugin.close == NULL ? NULL : plugin.close(self->state);
    /* What is allocated goes over as it is. */
    if (meta != NULL) plugin_string_set(to, meta);
    return meta != NULL;
}

void exports_minerva_plugin_sampler_session_destructor(session *self) {
    if (plugin.drop != NULL) plugin.drop(self->state);
    free(self);
}

/* ---- Choices ---- */

minerva_choice minerva_host(void) {
    return (minerva_choice) {.tag = EXPORTS_MINERVA_PLUGIN_SAMPLER_CHOICE_HOST};
}

minerva_choice minerva_token(uint32_t id) {
    return (minerva_choice) {.token = id, .tag = EXPORTS_MINERVA_PLUGIN_SAMPLER_CHOICE_TOKEN};
}

minerva_choice minerva_only(const uint32_t *ids, size_t count) {
    uint32_t *copy = minerva_allocate(count * sizeof *copy);
    if (count > 0) memcpy(copy, ids, count * sizeof *copy);
    return (minerva_choice) {.ids = copy, .count = count, .tag = EXPORTS_MINERVA_PLUGIN_SAMPLER_CHOICE_ONLY};
}

/* ---- The step ---- */

uint32_t minerva_position(void) {
    return minerva_plugin_step_position();
}

size_t minerva_history(uint32_t *ids, size_t count) {
    minerva_plugin_step_list_token_t last;
    minerva_plugin_step_history((uint32_t) count, &last);
    size_t found = last.len;
    if (found > 0) memcpy(ids, last.ptr, found * sizeof *ids);
    minerva_plugin_step_list_token_free(&last);
    return found;
}

float minerva_random(void) {
    return minerva_plugin_step_random();
}

void minerva_bias(const uint32_t *ids, const float *add, size_t count) {
    minerva_plugin_step_list_token_t tokens = {(uint32_t *) ids, count};
    plugin_list_f32_t added = {(float *) add, count};
    minerva_plugin_step_bias(&tokens, &added);
}

void minerva_temperature(float value) {
    minerva_plugin_step_temperature(value);
}

void minerva_allow_eog(bool allowed) {
    minerva_plugin_step_allow_eog(allowed);
}

void minerva_force(const uint32_t *ids, size_t count) {
    minerva_plugin_step_list_token_t tokens = {(uint32_t *) ids, count};
    minerva_plugin_step_force(&tokens);
}

uint32_t minerva_held(void) {
    return minerva_plugin_step_held();
}

void minerva_hold(uint32_t count) {
    minerva_plugin_step_hold(count);
}

void minerva_backtrack(uint32_t count) {
    minerva_plugin_step_backtrack(count);
}

void minerva_stop(minerva_finish reason) {
    minerva_plugin_step_stop((minerva_plugin_step_finish_t) reason);
}

minerva_row_summary minerva_summarize(void) {
    minerva_plugin_step_row_summary_t row;
    minerva_plugin_step_summarize(&row);
    return (minerva_row_summary) {row.argmax, row.max, row.logsumexp, row.entropy};
}

size_t minerva_top(uint32_t *ids, float *logits, size_t count) {
    minerva_plugin_step_candidates_t best;
    minerva_plugin_step_top((uint32_t) count, &best);
    size_t found = best.ids.len;
    if (found > 0) {
        memcpy(ids, best.ids.ptr, found * sizeof *ids);
        memcpy(logits, best.logits.ptr, found * sizeof *logits);
    }
    minerva_plugin_step_candidates_free(&best);
    return found;
}

void minerva_at(const uint32_t *ids, float *logits, size_t count) {
    minerva_plugin_step_list_token_t tokens = {(uint32_t *) ids, count};
    plugin_list_f32_t found;
    minerva_plugin_step_at(&tokens, &found);
    if (found.len > 0) memcpy(logits, found.ptr, found.len * sizeof *logits);
    plugin_list_f32_free(&found);
}

float *minerva_full(void) {
    plugin_list_f32_t row;
    minerva_plugin_step_full(&row);
    return row.len == 0 ? NULL : row.ptr;
}

/* ---- Sets ---- */

/* A handle of ours, as the generated code takes it. What is borrowed from us has the same number. */
static minerva_plugin_constraints_borrow_token_set_t borrowed_set(minerva_set set) {
    return (minerva_plugin_constraints_borrow_token_set_t) {set.handle};
}

minerva_set minerva_set_of(const uint32_t *ids, size_t count) {
    minerva_plugin_constraints_list_token_t tokens = {(uint32_t *) ids, count};
    return (minerva_set) {minerva_plugin_constraints_constructor_token_set(&tokens).__handle};
}

minerva_set minerva_set_from_words(const uint32_t *words, size_t count) {
    plugin_list_u32_t bits = {(uint32_t *) words, count};
    return (minerva_set) {minerva_plugin_constraints_static_token_set_from_words(&bits).__handle};
}

bool minerva_set_matching(const char *regex, minerva_set *set) {
    plugin_string_t given, words;
    plugin_string_set(&given, regex);
    minerva_plugin_constraints_own_token_set_t made;
    if (!minerva_plugin_constraints_static_token_set_matching(&given, &made, &words)) return minerva_host_refused(&words);
    set->handle = made.__handle;
    return true;
}

void minerva_set_intersect(minerva_set set, minerva_set other) {
    minerva_plugin_constraints_method_token_set_intersect(borrowed_set(set), borrowed_set(other));
}

void minerva_set_unite(minerva_set set, minerva_set other) {
    minerva_plugin_constraints_method_token_set_unite(borrowed_set(set), borrowed_set(other));
}

void minerva_set_invert(minerva_set set) {
    minerva_plugin_constraints_method_token_set_invert(borrowed_set(set));
}

bool minerva_set_has(minerva_set set, uint32_t id) {
    return minerva_plugin_constraints_method_token_set_has(borrowed_set(set), id);
}

uint32_t minerva_set_size(minerva_set set) {
    return minerva_plugin_constraints_method_token_set_size(borrowed_set(set));
}

void minerva_set_drop(minerva_set set) {
    minerva_plugin_constraints_token_set_drop_own((minerva_plugin_constraints_own_token_set_t) {set.handle});
}

void minerva_allow(minerva_set set) {
    minerva_plugin_step_allow(borrowed_set(set));
}

/* ---- Grammars ---- */

static minerva_plugin_constraints_borrow_grammar_t borrowed_grammar(minerva_grammar grammar) {
    return (minerva_plugin_constraints_borrow_grammar_t) {grammar.handle};
}

bool minerva_grammar_compile(minerva_notation notation, const char *source, minerva_grammar *grammar) {
    plugin_string_t given, words;
    plugin_string_set(&given, source);
    minerva_plugin_constraints_own_grammar_t made;
    minerva_plugin_constraints_notation_t in = (minerva_plugin_constraints_notation_t) notation;
    if (!minerva_plugin_constraints_static_grammar_compile(in, &given, &made, &words)) return minerva_host_refused(&words);
    grammar->handle = made.__handle;
    return true;
}

bool minerva_grammar_allowed(minerva_grammar grammar, minerva_set *set) {
    minerva_plugin_constraints_own_token_set_t made;
    plugin_string_t words;
    bool is_done = minerva_plugin_constraints_method_grammar_allowed(borrowed_grammar(grammar), &made, &words);
    if (!is_done) return minerva_host_refused(&words);
    set->handle = made.__handle;
    return true;
}

minerva_tokens minerva_grammar_forced(minerva_grammar grammar) {
    minerva_plugin_constraints_list_token_t ids;
    minerva_plugin_constraints_method_grammar_forced(borrowed_grammar(grammar), &ids);
    return (minerva_tokens) {ids.len == 0 ? NULL : ids.ptr, ids.len};
}

bool minerva_grammar_accept(minerva_grammar grammar, minerva_tokens tokens, uint32_t *accepted) {
    minerva_plugin_constraints_list_token_t ids = {(uint32_t *) tokens.ids, tokens.count};
    uint32_t count;
    plugin_string_t words;
    bool is_done = minerva_plugin_constraints_method_grammar_accept(borrowed_grammar(grammar), &ids, &count, &words);
    if (!is_done) return minerva_host_refused(&words);
    if (accepted != NULL) *accepted = count;
    return true;
}

bool minerva_grammar_may_end(minerva_grammar grammar, bool *may_end) {
    plugin_string_t words;
    bool is_done = minerva_plugin_constraints_method_grammar_may_end(borrowed_grammar(grammar), may_end, &words);
    return is_done || minerva_host_refused(&words);
}

bool minerva_grammar_is_complete(minerva_grammar grammar) {
    return minerva_plugin_constraints_method_grammar_is_complete(borrowed_grammar(grammar));
}

bool minerva_grammar_rollback(minerva_grammar grammar, uint32_t count) {
    plugin_string_t words;
    bool is_done = minerva_plugin_constraints_method_grammar_rollback(borrowed_grammar(grammar), count, &words);
    return is_done || minerva_host_refused(&words);
}

minerva_grammar minerva_grammar_fork(minerva_grammar grammar) {
    return (minerva_grammar) {minerva_plugin_constraints_method_grammar_fork(borrowed_grammar(grammar)).__handle};
}

void minerva_grammar_drop(minerva_grammar grammar) {
    minerva_plugin_constraints_grammar_drop_own((minerva_plugin_constraints_own_grammar_t) {grammar.handle});
}

bool minerva_obey(minerva_grammar grammar) {
    plugin_string_t words;
    minerva_plugin_step_borrow_grammar_t by = {grammar.handle};
    return minerva_plugin_step_obey(by, &words) || minerva_host_refused(&words);
}
