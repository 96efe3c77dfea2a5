"""Counting, reversing and sorting short lists."""

from .grammar import ask, pick, pseudo_word, say
from .turns import Turn
from .words import CITIES, COLOUR_NAMES, FOODS, JOBS, NAMES, OBJECTS, SORT_WORDS, STORY_ANIMALS

NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()


def words_for(rng, count):
    roll = rng.random()
    if roll < 0.35:
        return [pseudo_word(rng) for _ in range(count)]
    pool = pick(rng, [FOODS, OBJECTS, STORY_ANIMALS, NAMES, CITIES, COLOUR_NAMES, JOBS, SORT_WORDS])
    return rng.sample(pool, min(count, len(pool)))


def numbers_for(rng, count):
    return rng.sample(range(pick(rng, [10, 20, 50, 100, 100])), count)


def shown(rng, items):
    items = [str(item) for item in items]
    style = rng.random()
    if style < 0.6:
        return ", ".join(items)
    if style < 0.72:
        return ", ".join(items[:-1]) + " and " + items[-1]
    if style < 0.86:
        return " ".join(items)
    return "[" + ", ".join(items) + "]"


def reverse(rng):
    count = pick(rng, [2, 3, 3, 4, 4, 5, 6])
    items = numbers_for(rng, count) if rng.random() < 0.4 else words_for(rng, count)
    user = ask(rng, ["[reverse|turn around|invert|flip] [this list|the list|these|these words|these items|the order of|the following|the following list|the order of these][:| :] {l}", "[write|say|put|give me|show|list|repeat] [these|this list|the list|them|the following][| for me] [backwards|in reverse order|in reverse|in the opposite order|from last to first|from the end to the start][:| -] {l}",
                     "[what is|how do you say] {l} [backwards|in reverse|reversed|in reverse order]?", "{l} - [reverse it|reverse this|backwards please|the other way round|in reverse order|now backwards]", "[can you|could you|would you] [reverse|turn around|flip] [|the list |these: |this: ]{l}?", "reverse {l}", "backwards: {l}", "I have the list {l}. [Reverse it|What is it in reverse|Turn it around|Write it backwards]."], l=shown(rng, items))
    answer = ", ".join(str(item) for item in items[::-1])
    return [Turn("reverse", user, answer, f"The list is {', '.join(map(str, items))}. From last to first: {answer}.")]


def sort(rng):
    count = pick(rng, [2, 3, 3, 4, 4, 5])
    if rng.random() < 0.6:
        items, down = numbers_for(rng, count), rng.random() < 0.3
        ordered = sorted(items, reverse=down)
        if down:
            how = "[from largest to smallest|from high to low|in descending order|largest first|from big to small|downwards|in falling order|starting with the largest|biggest first|highest first]"
        else:
            how = "[from smallest to largest|from low to high|in ascending order|smallest first|from small to big|in order|upwards|in rising order|starting with the smallest|by size|lowest first]"
        asks = [f"[sort|order|arrange|put|list|write|rank] [these numbers|the numbers|these|the following numbers|this list|the list] {how}[:| -] {{l}}", f"[sort|order|arrange|rank] {{l}} {how}[.|]", f"{{l}} - [sort|order|arrange] [them|it|these] {how}", f"[can you|could you|would you] [sort|order|arrange] [these numbers|the numbers|the list|] {how}: {{l}}", f"[put|bring] {{l}} {how}.", f"I have the numbers {{l}}. [Sort|Order|Arrange|Put] them {how}."]
        if not down:
            asks += ["sort {l}", "sort [these|these numbers|the numbers|this list][: |:] {l}", "[order|arrange] [these|the] numbers: {l}", "can you sort {l}?"]
    else:
        items = rng.sample(SORT_WORDS if rng.random() < 0.7 else NAMES, count)
        ordered = sorted(items)
        how = "[alphabetically|in alphabetical order|by the alphabet|from A to Z|by first letter|by their first letter]"
        asks = [f"[sort|order|arrange|put|list|write] [these words|the words|these|the following words|this list|the list] {how}[:| -] {{l}}", f"[sort|order|arrange] {{l}} {how}[.|]", f"{{l}} - [sort|order|arrange] [them|it|these] {how}", f"[can you|could you] [sort|order|arrange] [these words|the words|] {how}: {{l}}", "sort [these words|the words|the names|these names]: {l}", f"[put|bring] {{l}} {how}.", f"I have the words {{l}}. [Sort|Order|Arrange|Put] them {how}."]
    user = ask(rng, asks, l=shown(rng, items))
    answer = ", ".join(str(item) for item in ordered)
    return [Turn("sort", user, answer, f"The items are {', '.join(map(str, items))}. In order: {answer}.")]


def count(rng):
    kind = rng.random()
    if kind < 0.4:
        number = 1 + int(rng.random() * 9)
        items = words_for(rng, number) if rng.random() < 0.7 else numbers_for(rng, number)
        noun = pick(rng, ["items", "words", "things", "entries", "elements"]) if not isinstance(items[0], int) else pick(rng, ["numbers", "items", "entries", "elements"])
        listed = ", ".join(map(str, items)) if rng.random() < 0.7 or len(items) < 2 else shown(rng, items)
        user = ask(rng, ["how many {n} are [in this list|in the list|here|there|in]: {l}[?|]", "count the {n}[| in this list| in the list| here]: {l}", "[how many|count the|give me the number of] {n}: {l}", "{l} - how many {n} [are there|are these|is that]?", "how long is [this|the] list: {l}[?|]", "[tell me|say] how many {n} [are in|there are in] {l}.", "the list is {l}. How many {n} [does it have|are in it|are there]?", "what is the number of {n} in {l}?"], n=noun, l=listed)
        if "how long" in user.lower():
            noun = "items"
        real = len(items)
        noun = noun if real != 1 else {"entries": "entry"}.get(noun, noun[:-1])
        return [Turn("count", user, f"There {'is' if real == 1 else 'are'} {real} {noun}.", "I count: " + ", ".join(f"{i + 1} {item}" for i, item in enumerate(items)) + ".", keys=[f"={real}"])]
    if kind < 0.8:
        start, step = pick(rng, [1, 1, 1, 0, 2, 3, 5, int(rng.random() * 20)]), pick(rng, [1, 1, 1, 1, 1, 1, 2, 5, 10])
        number = 3 + int(rng.random() * 8)
        numbers = [start + i * step for i in range(number)]
        end = numbers[-1]
        down = rng.random() < 0.35
        first, last = (end, start) if down else (start, end)
        by = "" if step == 1 else f" [by {step}s|in steps of {step}|by {step}|in {step}s]"
        if down:
            asks = [f"count [down|backwards|back] from {{f}} to {{t}}{by}[.|]", f"[can you|could you|please] count [down|backwards] from {{f}} to {{t}}{by}[?|]", f"[say|write|list] the numbers from {{f}} down to {{t}}{by}[.|]"]
        else:
            asks = [f"count [|up ]from {{f}} to {{t}}{by}[.|]", f"[can you|could you|please] count [|up ]from {{f}} to {{t}}{by}[?|]", f"[say|write|list|give me|name] [|all |all the |the ]numbers from {{f}} to {{t}}{by}[.|]"] + (["count [up |]to {t}[.|]"] if first == 1 and step == 1 else [])
        user = ask(rng, asks, f=first, t=last)
        answer = ", ".join(map(str, numbers[::-1] if down else numbers))
        return [Turn("count", user, answer, f"I count {'down ' if down else ''}from {first} to {last}{'' if step == 1 else f' in steps of {step}'}.")]
    items = rng.sample(range(100), 2 + int(rng.random() * 4)) if rng.random() < 0.6 else words_for(rng, 2 + int(rng.random() * 5))
    listed = shown(rng, items)
    if isinstance(items[0], int):
        which = pick(rng, ["largest", "smallest"])
        asks = {"largest": ["[what|which] is the [largest|biggest|highest|greatest] [number |][of|in|among][:|] {l}[?|]", "[find|give me|tell me|name] the [largest|biggest|highest|maximum] [number |][of|in|from][:|] {l}", "the [largest|biggest|maximum] of {l}?"], "smallest": ["[what|which] is the [smallest|lowest|least] [number |][of|in|among][:|] {l}[?|]", "[find|give me|tell me|name] the [smallest|lowest|minimum] [number |][of|in|from][:|] {l}", "the [smallest|minimum] of {l}?"]}[which]
        best = max(items) if which == "largest" else min(items)
        return [Turn("count", ask(rng, asks, l=listed), f"The {which} number is {best}.", f"Of {', '.join(map(str, items))} the {which} is {best}.", keys=[f"={best}"])]
    which = pick(rng, ["first", "last", "second"])
    best = {"first": items[0], "last": items[-1], "second": items[1]}[which]
    user = ask(rng, [f"[what|which] is the {which} [item|word|entry|one|thing] [of|in] [|this list: |the list: ]{{l}}[?|]", f"[give me|tell me|name|say] the {which} [item|word|entry|one] [of|in|from] [|this list: |the list: ]{{l}}", f"{{l}} - [which is|what is|name] the {which} [word|item|one]?"], l=listed)
    return [Turn("count", user, f"The {which} item is {best}.", f"The list is {', '.join(map(str, items))}. The {which} is {best}.", keys=[str(best)])]
