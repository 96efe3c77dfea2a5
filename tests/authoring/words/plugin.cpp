// A stream processor in C++: says how many words an answer had, at its end.
#include <map>
#include <new>
#include <string>

#include "minerva/minerva.h"

struct State {
    std::map<std::string, int> words;
    std::string word;
};

static bool open(void *self, minerva_json) {
    new (self) State;
    return true;
}

static void push(void *self, minerva_text text, minerva_tokens, minerva_events *events) {
    auto *state = static_cast<State *>(self);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ' ') {
            state->words[state->word]++;
            state->word.clear();
        } else {
            state->word.push_back(text.data[i]);
        }
    }
    minerva_say(events, text);
}

static void close(void *self, minerva_finish, minerva_events *events) {
    auto *state = static_cast<State *>(self);
    if (!state->word.empty()) state->words[state->word]++;
    minerva_meta(events, ("{\"words\": " + std::to_string(state->words.size()) + "}").c_str());
}

static void drop(void *self) {
    static_cast<State *>(self)->~State();
}

extern "C" const minerva_stream plugin = {
    .version = "0.1.0",
    .summary = "Counts the words of an answer.",
    .args_schema = "{\"type\": \"object\", \"additionalProperties\": false}",
    .state_size = sizeof(State),
    .open = open,
    .push = push,
    .close = close,
    .drop = drop,
};
