#include <stdlib.h>
#include <string.h>

#include "minerva/minerva.h"

static bool render(const minerva_chat *chat, minerva_json args, minerva_prompt *prompt) {
    int64_t visits;
    if (!minerva_store_add("visits", 1, 0, &visits)) return false;
    if (visits == 1 && !minerva_store_set("last", "a f\xc3\xb6x", strlen("a f\xc3\xb6x"), 3600 * 1000)) return false;
    char *last = minerva_store_get("last", NULL);
    if (visits == 2) minerva_store_remove("last");
    minerva_refuse("%lld: %s", (long long) visits, last == NULL ? "nothing" : last);
    free(last);
    return false;
}

const minerva_template plugin = {.version = "0.1.0", .summary = "Remembers.", .render = render};
