/* What every kind of plugin has: texts, arguments, the log, the model, the store. */
#include "minerva.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

void *minerva_allocate(size_t size) {
    return minerva_reallocate(NULL, size);
}

void *minerva_reallocate(void *memory, size_t size) {
    void *moved = realloc(memory, size == 0 ? 1 : size);
    if (moved == NULL) abort();
    return moved;
}

/* What the host is given. It writes nothing there, only the generated code says so. */
static plugin_string_t borrowed(const char *data, size_t len) {
    return (plugin_string_t) {(uint8_t *) data, len};
}

/* Of what the host gave: a copy with a zero behind it, and the host's own is freed. */
static char *terminated(plugin_list_u8_t *from) {
    char *string = minerva_allocate(from->len + 1);
    memcpy(string, from->ptr, from->len);
    string[from->len] = 0;
    plugin_list_u8_free(from);
    return string;
}

/* ---- Texts ---- */

minerva_text minerva_text_of(const char *string) {
    return (minerva_text) {string, strlen(string)};
}

bool minerva_text_is(minerva_text text, const char *string) {
    return text.len == strlen(string) && memcmp(text.data, string, text.len) == 0;
}

size_t minerva_begun_at_end(minerva_text text, minerva_text looked_for) {
    if (looked_for.len == 0) return 0;
    size_t len = looked_for.len - 1 < text.len ? looked_for.len - 1 : text.len;
    while (len > 0 && memcmp(text.data + text.len - len, looked_for.data, len) != 0) len--;
    return len;
}

/* ---- Arguments: a walk over JSON that the host found valid, and that ends with a zero ---- */

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++) {
        if (*at == '\\') at++;
    }
    return at + 1;
}

static const char *skip_value(const char *at) {
    size_t depth = 0;
    do {
        if (*at == '"') {
            at = skip_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth == 0) {
            at += strcspn(at, ",]} \t\r\n");
        } else {
            at++;
        }
    } while (depth > 0);
    return at;
}

/* From an element's end to the next one's beginning, or NULL. */
static const char *next(const char *at) {
    at = skip_space(at);
    return *at == ',' ? skip_space(at + 1) : NULL;
}

/* The first element of an object or an array, or NULL. */
static const char *first(minerva_json value, char open) {
    if (value.at == NULL) return NULL;
    const char *at = skip_space(value.at);
    if (*at != open) return NULL;
    at = skip_space(at + 1);
    return *at == '}' || *at == ']' ? NULL : at;
}

minerva_json minerva_get(minerva_json object, const char *key) {
    size_t len = strlen(key);
    for (const char *at = first(object, '{'); at != NULL;) {
        const char *end = skip_string(at);
        bool is_it = (size_t) (end - at) == len + 2 && memcmp(at + 1, key, len) == 0;
        at = skip_space(skip_space(end) + 1);
        if (is_it) return (minerva_json) {at};
        at = next(skip_value(at));
    }
    return (minerva_json) {NULL};
}

minerva_json minerva_item(minerva_json array, size_t index) {
    const char *at = first(array, '[');
    while (at != NULL && index > 0) {
        at = next(skip_value(at));
        index--;
    }
    return (minerva_json) {at};
}

bool minerva_is_some(minerva_json value) {
    return value.at != NULL && *skip_space(value.at) != 'n';
}

double minerva_as_number(minerva_json value) {
    return value.at == NULL ? 0 : strtod(value.at, NULL);
}

static unsigned hex4(const char *at) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned digit = (unsigned char) at[i];
        value = value << 4 | (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    return value;
}

static char *put_utf8(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char) code;
    } else if (code < 0x800) {
        *to++ = (char) (0xc0 | code >> 6);
        *to++ = (char) (0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char) (0xe0 | code >> 12);
        *to++ = (char) (0x80 | (code >> 6 & 0x3f));
        *to++ = (char) (0x80 | (code & 0x3f));
    } else {
        *to++ = (char) (0xf0 | code >> 18);
        *to++ = (char) (0x80 | (code >> 12 & 0x3f));
        *to++ = (char) (0x80 | (code >> 6 & 0x3f));
        *to++ = (char) (0x80 | (code & 0x3f));
    }
    return to;
}

char *minerva_as_string(minerva_json value) {
    if (value.at == NULL) return NULL;
    const char *at = skip_space(value.at);
    if (*at != '"') return NULL;
    /* An escape is never shorter than what it stands for. */
    char *string = minerva_allocate((size_t) (skip_string(at) - at));
    char *to = string;
    for (at++; *at != '"'; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        at++;
        static const char names[] = "bfnrt", stands_for[] = "\b\f\n\r\t";
        const char *name = strchr(names, *at);
        if (*at == 'u') {
            unsigned code = hex4(at + 1);
            at += 4;
            if (code >= 0xd800 && code < 0xdc00 && at[1] == '\\' && at[2] == 'u') {
                code = 0x10000 + ((code - 0xd800) << 10) + (hex4(at + 3) - 0xdc00);
                at += 6;
            }
            to = put_utf8(to, code);
        } else {
            *to++ = name != NULL ? stands_for[name - names] : *at;
        }
    }
    *to = 0;
    return string;
}

double minerva_number(minerva_json object, const char *key, double fallback) {
    minerva_json value = minerva_get(object, key);
    return minerva_is_some(value) ? minerva_as_number(value) : fallback;
}

bool minerva_flag(minerva_json object, const char *key, bool fallback) {
    minerva_json value = minerva_get(object, key);
    return minerva_is_some(value) ? *skip_space(value.at) == 't' : fallback;
}

char *minerva_string(minerva_json object, const char *key, const char *fallback) {
    char *string = minerva_as_string(minerva_get(object, key));
    if (string != NULL) return string;
    size_t size = strlen(fallback) + 1;
    return memcpy(minerva_allocate(size), fallback, size);
}

/* ---- Refusing, log ---- */

static char error[1024] = "the plugin refuses, and does not say why";

/* What fits into `to`, cut at a character's border. */
static void put(char to[1024], const char *format, va_list arguments) {
    if (vsnprintf(to, 1024, format, arguments) < 1024) return;
    size_t end = 1023;
    while (end > 0 && (to[end - 1] & 0xc0) == 0x80) end--;
    to[end > 0 ? end - 1 : 0] = 0;
}

bool minerva_refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    put(error, format, arguments);
    va_end(arguments);
    return false;
}

const char *minerva_error(void) {
    return error;
}

/* The host's words, cut at a character's border where they are too long. Used by the other files too. */
bool minerva_host_refused(plugin_string_t *words);
bool minerva_host_refused(plugin_string_t *words) {
    size_t len = words->len < sizeof error ? words->len : sizeof error - 1;
    while (len < words->len && len > 0 && (words->ptr[len] & 0xc0) == 0x80) len--;
    memcpy(error, words->ptr, len);
    error[len] = 0;
    plugin_string_free(words);
    return false;
}

void minerva_log(minerva_level level, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    put(line, format, arguments);
    va_end(arguments);
    plugin_string_t message = borrowed(line, strlen(line));
    minerva_plugin_host_log((minerva_plugin_host_level_t) level, &message);
}

/* ---- The model ---- */

uint32_t minerva_vocab_size(void) {
    return minerva_plugin_model_vocab_size();
}

bool minerva_special_id(minerva_special_token role, uint32_t *id) {
    return minerva_plugin_model_special_id((minerva_plugin_model_special_t) role, id);
}

bool minerva_is_eog(uint32_t id) {
    return minerva_plugin_model_is_eog(id);
}

bool minerva_encode(minerva_text text, bool parse_special, minerva_tokens *tokens) {
    plugin_string_t given = borrowed(text.data, text.len), words;
    minerva_plugin_model_list_token_t ids;
    if (!minerva_plugin_model_encode(&given, parse_special, &ids, &words)) return minerva_host_refused(&words);
    *tokens = (minerva_tokens) {ids.len == 0 ? NULL : ids.ptr, ids.len};
    return true;
}

minerva_text minerva_decode(minerva_tokens tokens) {
    minerva_plugin_model_list_token_t ids = {(uint32_t *) tokens.ids, tokens.count};
    plugin_list_u8_t bytes;
    minerva_plugin_model_decode(&ids, &bytes);
    size_t len = bytes.len;
    return (minerva_text) {terminated(&bytes), len};
}

void minerva_pieces(uint32_t **ends, size_t *count, uint8_t **bytes) {
    plugin_tuple2_list_u32_list_u8_t pieces;
    minerva_plugin_model_pieces(&pieces);
    *ends = pieces.f0.len == 0 ? NULL : pieces.f0.ptr;
    *count = pieces.f0.len;
    *bytes = pieces.f1.len == 0 ? NULL : pieces.f1.ptr;
}

/* ---- The store ---- */

char *minerva_store_get(const char *key, size_t *len) {
    plugin_string_t name = borrowed(key, strlen(key));
    plugin_list_u8_t value;
    if (!minerva_plugin_store_get(&name, &value)) return NULL;
    if (len != NULL) *len = value.len;
    return terminated(&value);
}

bool minerva_store_set(const char *key, const void *value, size_t len, uint32_t ttl_ms) {
    plugin_string_t name = borrowed(key, strlen(key)), words;
    plugin_list_u8_t bytes = {(uint8_t *) value, len};
    return minerva_plugin_store_set(&name, &bytes, ttl_ms, &words) || minerva_host_refused(&words);
}

bool minerva_store_add(const char *key, int64_t by, uint32_t ttl_ms, int64_t *sum) {
    plugin_string_t name = borrowed(key, strlen(key)), words;
    int64_t added;
    if (!minerva_plugin_store_add(&name, by, ttl_ms, &added, &words)) return minerva_host_refused(&words);
    if (sum != NULL) *sum = added;
    return true;
}

void minerva_store_remove(const char *key) {
    plugin_string_t name = borrowed(key, strlen(key));
    minerva_plugin_store_remove(&name);
}
