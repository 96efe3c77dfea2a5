/**
 * Plugins for Minerva, in C (and C++).
 *
 * A plugin is a constant `plugin` in `plugin.c`, of the type `minerva_sampler`, `minerva_template` or `minerva_stream`:
 * what it says of itself, and its functions. This is a whole one:
 *
 *     #include "minerva/minerva.h"
 *
 *     struct best { size_t count; };
 *
 *     static bool open(void *self, minerva_json args, minerva_tokens prompt) {
 *         struct best *best = self;
 *         best->count = (size_t) minerva_number(args, "k", 8);
 *         return true;
 *     }
 *
 *     static minerva_choice pick(void *self, minerva_candidates cut) {
 *         const struct best *best = self;
 *         return minerva_only(cut.ids, cut.count < best->count ? cut.count : best->count);
 *     }
 *
 *     const minerva_sampler plugin = {
 *         .version = "0.1.0",
 *         .summary = "Keeps the best few candidates.",
 *         .args_schema = "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
 *                        "\"k\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 64, \"default\": 8}}}",
 *         .cut = 64,
 *         .can_fork = true,
 *         .can_rollback = true,
 *         .state_size = sizeof(struct best),
 *         .open = open,
 *         .pick = pick,
 *     };
 *
 * `self` is the plugin's part in one answer: `state_size` bytes, zeroed before `open`. Functions that a plugin does not
 * need are left out. What each has to do, and what the host's functions do, the comments of `wit/plugin.wit` say.
 *
 * Memory. What a function of the plugin is given is good until it returns; keep copies. What is given to the SDK is
 * copied. What the SDK allocates for the plugin is the plugin's, says "allocated" here, and goes by `free`.
 *
 * Refusing. A function that returns `false` refuses the request: `minerva_refuse` puts the words for the client, what is
 * wrong and what would be right. Functions of the SDK that return `false` or NULL have put the host's words there:
 * return `false` too, and the client reads them. A trap (`abort`, a failed `assert`, memory that is gone) is a bug, and
 * fails the one request.
 *
 * Randomness is `minerva_random`: libc's own numbers are the same in every request. What is printed to stdout or stderr
 * goes to the host's log, as `minerva_log` does.
 */
#ifndef MINERVA_H
#define MINERVA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Texts, tokens, arguments --------------------------------------------------------------------------------- */

/** UTF-8, not terminated by a zero. */
typedef struct {
    const char *data;
    size_t len;
} minerva_text;

/** A text of a string that ends with a zero. */
minerva_text minerva_text_of(const char *string);

/** Whether a text is a string. */
bool minerva_text_is(minerva_text text, const char *string);

/** How many bytes at the end of a text may be the beginning of what is looked for. */
size_t minerva_begun_at_end(minerva_text text, minerva_text looked_for);

/** Tokens: indices into the model's vocabulary. */
typedef struct {
    const uint32_t *ids;
    size_t count;
} minerva_tokens;

/** A value in JSON: where its text begins, or NULL where there is none. Valid JSON always, since the host reads it first. */
typedef struct {
    const char *at;
} minerva_json;

/** The value of an object's key; none where there is no such key, or no object. Keys are plain: no escapes in them. */
minerva_json minerva_get(minerva_json object, const char *key);

/** The value at an index of an array; none behind its end, or where there is no array. */
minerva_json minerva_item(minerva_json array, size_t index);

/** Whether there is a value, `null` being none. */
bool minerva_is_some(minerva_json value);

/** The number at an object's key, or the fallback where there is none. */
double minerva_number(minerva_json object, const char *key, double fallback);

/** The truth at an object's key, or the fallback where there is none. */
bool minerva_flag(minerva_json object, const char *key, bool fallback);

/** The string at an object's key, or a copy of the fallback where there is none. Allocated, with a zero at its end. */
char *minerva_string(minerva_json object, const char *key, const char *fallback);

/** A number, where the value is one; 0 otherwise. */
double minerva_as_number(minerva_json value);

/** A string without its escapes, where the value is one; NULL otherwise. Allocated, with a zero at its end. */
char *minerva_as_string(minerva_json value);

/* ---- Refusing, log, memory ------------------------------------------------------------------------------------ */

/** Puts the words in which the request is refused, as `printf` does, and returns `false`. At most 1,023 bytes. */
bool minerva_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** The words that were put last. */
const char *minerva_error(void);

typedef enum { MINERVA_ERROR, MINERVA_WARN, MINERVA_INFO, MINERVA_DEBUG } minerva_level;

/** Writes a line into the host's log, as `printf` does. At most 1,023 bytes. */
void minerva_log(minerva_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** `malloc` and `realloc` that trap where there is no memory, so that nobody has to look. */
void *minerva_allocate(size_t size);
void *minerva_reallocate(void *memory, size_t size);

/* ---- The model ------------------------------------------------------------------------------------------------ */

typedef enum { MINERVA_BOS, MINERVA_EOS, MINERVA_EOT, MINERVA_THINK_START, MINERVA_THINK_END } minerva_special_token;

/** The number of tokens in the vocabulary. */
uint32_t minerva_vocab_size(void);

/** The token with a role; `false` where the model has none. */
bool minerva_special_id(minerva_special_token role, uint32_t *id);

/** Whether a token ends the generation. */
bool minerva_is_eog(uint32_t id);

/** Text to tokens, which are allocated: `free((void *) tokens.ids)`. */
bool minerva_encode(minerva_text text, bool parse_special, minerva_tokens *tokens);

/** Tokens to the bytes they stand for. Allocated, with a zero behind them: `free((void *) text.data)`. */
minerva_text minerva_decode(minerva_tokens tokens);

/**
 * The whole vocabulary: where each token's bytes end, and all the bytes. Both are allocated. About a megabyte: call it
 * once, and keep what is needed.
 */
void minerva_pieces(uint32_t **ends, size_t *count, uint8_t **bytes);

/* ---- A memory from one request to the next -------------------------------------------------------------------- */

/** The value of a key, allocated, with a zero behind it; NULL where there is none. */
char *minerva_store_get(const char *key, size_t *len);

/** Sets a key for `ttl_ms` milliseconds, or for good where that is 0. `false` where there is no room. */
bool minerva_store_set(const char *key, const void *value, size_t len, uint32_t ttl_ms);

/** Adds to the number that is a key's value, which begins at 0. `false` where there is no room, or no number. */
bool minerva_store_add(const char *key, int64_t by, uint32_t ttl_ms, int64_t *sum);

/** Forgets a key. */
void minerva_store_remove(const char *key);

/* ---- Samplers ------------------------------------------------------------------------------------------------- */

typedef enum { MINERVA_STOP, MINERVA_LENGTH, MINERVA_FILTER, MINERVA_PLUGIN } minerva_finish;

/** Tokens that may be chosen, best first. There is at least one. */
typedef struct {
    const uint32_t *ids;
    const float *logits;
    size_t count;
} minerva_candidates;

/** What `pick` returns: made by one of the three functions below. */
typedef struct {
    uint32_t *ids;
    size_t count;
    uint32_t token;
    uint8_t tag;
} minerva_choice;

/** Whatever the next sampler, and in the end the host, chooses. */
minerva_choice minerva_host(void);

/** This token. */
minerva_choice minerva_token(uint32_t id);

/** One of these candidates, at least one. */
minerva_choice minerva_only(const uint32_t *ids, size_t count);

/** What a sampler says of itself, and its functions. */
typedef struct {
    const char *version;
    const char *summary;
    /** NULL where anything goes. */
    const char *args_schema;
    /** How many of the best candidates `pick` gets: 1 to 4,096; 64 if it is 0. */
    uint32_t cut;
    /** It calls `minerva_full`, which the operator must grant. */
    bool full_row;
    /** It calls `minerva_summarize`, `minerva_top` or `minerva_at`. */
    bool reads_row;
    /** `fork` works; where the state has no pointers, sets and grammars, there is no need to write it. */
    bool can_fork;
    /** `rollback` works; where nothing is remembered between tokens, there is no need to write it. */
    bool can_rollback;
    /** How many tokens at a time `minerva_hold` and `minerva_backtrack` are for; more than 0 needs `can_rollback`. */
    uint32_t backtrack_max;
    /** The bytes of `self`. */
    size_t state_size;
    bool (*open)(void *self, minerva_json args, minerva_tokens prompt);
    void (*advance)(void *self, minerva_tokens committed);
    /** Without it nothing is seen, and all is commanded in `advance`: the tier `plan`. */
    minerva_choice (*pick)(void *self, minerva_candidates cut);
    /** `copy` holds the same bytes as `self`: give it its own of what is allocated, and of sets and grammars. */
    bool (*fork)(const void *self, void *copy);
    bool (*rollback)(void *self, uint32_t count);
    /** JSON text for the response's metadata, allocated, or NULL. */
    char *(*close)(void *self);
    /** Frees what the state points to, and drops its sets and grammars. */
    void (*drop)(void *self);
} minerva_sampler;

/* In `advance` and `pick`: the step, and commands for it. See `step` in wit/plugin.wit. */
uint32_t minerva_position(void);
/** Puts the last tokens, `count` at most, oldest first, and returns how many there are. */
size_t minerva_history(uint32_t *ids, size_t count);
float minerva_random(void);
void minerva_bias(const uint32_t *ids, const float *add, size_t count);
void minerva_temperature(float value);
void minerva_allow_eog(bool allowed);
void minerva_force(const uint32_t *ids, size_t count);
/** How many of the last tokens of the answer can be taken back now: those held in the step before, and those that
 *  `advance` tells of. */
uint32_t minerva_held(void);
/** Keeps the last tokens from the client, so that they can be taken back in the next step. Only in `advance`, and for this
 *  step only: what nobody holds is sent. */
void minerva_hold(uint32_t count);
/** Takes back the last tokens, at most `minerva_held`, instead of choosing one. Who does not want them again bans them in
 *  the next `advance`, which tells of none. */
void minerva_backtrack(uint32_t count);
void minerva_stop(minerva_finish reason);

/* In `pick`: the row of logits. */
typedef struct {
    uint32_t argmax;
    float max, logsumexp, entropy;
} minerva_row_summary;
minerva_row_summary minerva_summarize(void);
/** Puts the best candidates, `count` at most, and returns how many there are. */
size_t minerva_top(uint32_t *ids, float *logits, size_t count);
void minerva_at(const uint32_t *ids, float *logits, size_t count);
/** Every logit, allocated: as many as the vocabulary has tokens. */
float *minerva_full(void);

/** A set of tokens, kept by the host. Ends with `minerva_set_drop`. */
typedef struct {
    int32_t handle;
} minerva_set;
minerva_set minerva_set_of(const uint32_t *ids, size_t count);
minerva_set minerva_set_from_words(const uint32_t *words, size_t count);
bool minerva_set_matching(const char *regex, minerva_set *set);
void minerva_set_intersect(minerva_set set, minerva_set other);
void minerva_set_unite(minerva_set set, minerva_set other);
void minerva_set_invert(minerva_set set);
bool minerva_set_has(minerva_set set, uint32_t id);
uint32_t minerva_set_size(minerva_set set);
void minerva_set_drop(minerva_set set);
/** Only tokens of the set may be chosen in this step. */
void minerva_allow(minerva_set set);

typedef enum { MINERVA_JSON_SCHEMA, MINERVA_REGEX, MINERVA_LARK, MINERVA_GBNF } minerva_notation;

/** A grammar and a place in it, kept by the host. Ends with `minerva_grammar_drop`. */
typedef struct {
    int32_t handle;
} minerva_grammar;
bool minerva_grammar_compile(minerva_notation notation, const char *source, minerva_grammar *grammar);
bool minerva_grammar_allowed(minerva_grammar grammar, minerva_set *set);
/** The tokens that come next whatever is chosen. Allocated. */
minerva_tokens minerva_grammar_forced(minerva_grammar grammar);
bool minerva_grammar_accept(minerva_grammar grammar, minerva_tokens tokens, uint32_t *accepted);
bool minerva_grammar_may_end(minerva_grammar grammar, bool *may_end);
bool minerva_grammar_is_complete(minerva_grammar grammar);
bool minerva_grammar_rollback(minerva_grammar grammar, uint32_t count);
minerva_grammar minerva_grammar_fork(minerva_grammar grammar);
void minerva_grammar_drop(minerva_grammar grammar);
/** Only tokens that fit next in the grammar may be chosen in this step. */
bool minerva_obey(minerva_grammar grammar);

/* ---- Templates ------------------------------------------------------------------------------------------------ */

typedef struct {
    minerva_text id, name, arguments;
} minerva_tool_call;

typedef struct {
    minerva_text role;
    /** The text of its content, parts joined. */
    minerva_text text;
    /** `data` is NULL in what the client does not say, here and below. */
    minerva_text name, tool_call_id, reasoning;
    const minerva_tool_call *tool_calls;
    size_t tool_call_count;
} minerva_message;

typedef struct {
    /** Oldest first. */
    const minerva_message *messages;
    size_t message_count;
    /** Each the JSON text of a tool on offer, in OpenAI's form. */
    const minerva_json *tools;
    size_t tool_count;
    /** Further variables of the request: an object. */
    minerva_json variables;
    /** Leave the last message open, to be continued, if it is the assistant's. */
    bool continue_last;
} minerva_chat;

/** What `render` fills. */
typedef struct minerva_prompt minerva_prompt;

/** Adds the template's own words, in which the text of special tokens means those tokens. */
void minerva_prompt_special(minerva_prompt *prompt, const char *string);

/** Adds what a stranger wrote: what looks like markup in it stays text. */
void minerva_prompt_text(minerva_prompt *prompt, minerva_text text);

/** Adds tokens, used as they are. */
void minerva_prompt_tokens(minerva_prompt *prompt, minerva_tokens tokens);

/** Adds a text that ends the answer. */
void minerva_prompt_stop(minerva_prompt *prompt, const char *string);

/** Makes the answer obey a grammar. */
void minerva_prompt_obey(minerva_prompt *prompt, minerva_notation notation, const char *source);

/** What a template says of itself, and its function. */
typedef struct {
    const char *version;
    const char *summary;
    /** NULL where anything goes. */
    const char *args_schema;
    bool (*render)(const minerva_chat *chat, minerva_json args, minerva_prompt *prompt);
} minerva_template;

/* ---- Stream processors ---------------------------------------------------------------------------------------- */

/** What `push` and `close` fill. */
typedef struct minerva_events minerva_events;

/** Text of the answer. Neighbours are joined. */
void minerva_say(minerva_events *events, minerva_text text);

/** Text of the thinking before the answer. Neighbours are joined. */
void minerva_think(minerva_events *events, minerva_text text);

/** A piece of a call of a tool. `id` and `name` may be NULL. */
void minerva_tool(minerva_events *events, uint32_t index, const char *id, const char *name, minerva_text arguments);

/** Something to tell the client beside the text: JSON text. */
void minerva_meta(minerva_events *events, const char *json);

/** The answer ends here. */
void minerva_end(minerva_events *events, minerva_finish reason);

/** What a stream processor says of itself, and its functions. */
typedef struct {
    const char *version;
    const char *summary;
    /** NULL where anything goes. */
    const char *args_schema;
    /** The bytes of `self`. */
    size_t state_size;
    bool (*open)(void *self, minerva_json args);
    void (*push)(void *self, minerva_text text, minerva_tokens tokens, minerva_events *events);
    void (*close)(void *self, minerva_finish reason, minerva_events *events);
    /** Frees what the state points to. */
    void (*drop)(void *self);
} minerva_stream;

#ifdef __cplusplus
}
#endif

#endif
