"""Filling a small JSON object from a text.

Half of the schemas are made up on the spot from random keys, so that the model learns to look the keys up in
the text instead of learning the schemas by heart.
"""

from .grammar import ask, choose, compact, fill, join, pick, pseudo_word
from .turns import Turn
from .words import (ADJECTIVES, CITIES, COLOUR_NAMES, FOODS, JOBS, MONTHS, NAMES, OBJECTS, MORE_NOUNS, PARAM_INTEGERS, PARAM_STRINGS, PLACES, VALUES,
                    STORY_ANIMALS, SURNAMES, TOOL_NOUNS, WEEKDAYS)


def name(rng):
    roll = rng.random()
    first = pick(rng, NAMES) if roll < 0.6 else pseudo_word(rng, 2).capitalize()
    return first + (" " + (pick(rng, SURNAMES) if rng.random() < 0.6 else pseudo_word(rng, 2).capitalize()) if rng.random() < 0.35 else "")


def city(rng):
    return pick(rng, CITIES) if rng.random() < 0.65 else pseudo_word(rng, 2).capitalize()


def number(most):
    return lambda rng: 1 + int(rng.random() * most)


def of(pool):
    return lambda rng: pick(rng, pool)


def thing(rng):
    return pick(rng, OBJECTS + FOODS) if rng.random() < 0.7 else pseudo_word(rng, 2)


def title(rng):
    return pick(rng, ["The ", "A ", ""]) + " ".join(word.capitalize() for word in ([pick(rng, ADJECTIVES), pick(rng, OBJECTS + STORY_ANIMALS + PLACES)] if rng.random() < 0.7 else [pseudo_word(rng), pseudo_word(rng)]))


def day(rng):
    return pick(rng, WEEKDAYS) if rng.random() < 0.5 else f"{1 + int(rng.random() * 28)} {pick(rng, MONTHS)}"


def time(rng):
    return f"{int(rng.random() * 24):02}:{pick(rng, ['00', '15', '30', '45'])}"


def email(rng):
    return f"{pick(rng, NAMES + [pseudo_word(rng, 2)]).lower()}@{pick(rng, ['mail', 'post', 'example', pseudo_word(rng, 2)])}.{pick(rng, ['com', 'org', 'net', 'de'])}"


# Each domain: fields with their values, and texts that name all of them.
DOMAINS = [
    (dict(name=name, age=number(99), city=city), ["{name} is {age} years old and [lives in|is from|comes from] {city}.", "{name}, {age}, [lives in|from] {city}[, likes to swim|].", "[My friend|My colleague|Our neighbour|My cousin] {name} lives in {city} and is {age}[| years old].", "in {city} lives {name}, who is {age} years old.", "at the age of {age}, {name} moved to {city}."]),
    (dict(name=name, job=of(JOBS), city=city), ["{name} works as a {job} in {city}.", "{name} is a {job} from {city}.", "in {city} there is a {job} called {name}.", "meet {name}, a {job} in {city}."]),
    (dict(name=name, age=number(99), job=of(JOBS)), ["{name} is a {age} year old {job}.", "{name}, aged {age}, works as a {job}.", "{name} is {age} and [is|works as] a {job}."]),
    (dict(customer=name, item=thing, quantity=number(50)), ["{customer} [ordered|bought|wants|needs|would like] {quantity} of the {item}.", "[order|sale]: {quantity} x {item} for {customer}.", "{customer} [ordered|bought|asked for] the {item}, {quantity} [pieces|times|of them].", "please send {quantity} pieces of the {item} to {customer}."]),
    (dict(item=thing, price=number(500), color=of(COLOUR_NAMES)), ["the {color} {item} costs {price} [euros|dollars].", "a {item} in {color} for {price} [euros|dollars].", "{price} [euros|dollars] for the {item}, [color|which is] {color}.", "we sell a {color} {item}. Price: {price}."]),
    (dict(title=title, author=name, year=lambda rng: 1800 + int(rng.random() * 225)), ['"{title}" was written by {author} in {year}.', '{author} wrote "{title}" in {year}.', 'the book "{title}" by {author} [appeared|came out] in {year}.', 'in {year}, {author} published "{title}".']),
    (dict(event=of(["meeting", "party", "concert", "lesson", "lunch", "dinner", "game", "exam", "talk", "workshop"]), day=day, time=time), ["the {event} is on {day} at {time}.", "on {day} at {time} [there is|we have] a {event}.", "[do not forget|remember] the {event}: {day}, {time}.", "{event} at {time} on {day}."]),
    (dict(event=of(["meeting", "party", "concert", "lesson", "lunch", "dinner", "game", "exam", "talk", "workshop"]), place=of(PLACES), day=day), ["the {event} [takes place|is] in the {place} on {day}.", "on {day} there is a {event} at the {place}.", "come to the {event} at the {place} on {day}."]),
    (dict(pet=name, species=of(["dog", "cat", "horse", "fish", "rabbit", "hamster", "parrot", "goat"]), age=number(20)), ["{pet} is a {species} and is {age} years old.", "my {species} {pet} is {age}[| years old].", "the {species} is called {pet}, age {age}.", "{pet}, our {age} year old {species}[, sleeps a lot|]."]),
    (dict(name=name, email=email), ["{name}'s [email|address] is {email}.", "[write to|contact] {name} at {email}.", "{email} belongs to {name}.", "you can reach {name} by mail: {email}."]),
    (dict(name=name, phone=lambda rng: "".join(str(int(rng.random() * 10)) for _ in range(pick(rng, [5, 6, 7])))), ["call {name} at {phone}.", "{name}'s [phone number|number] is {phone}.", "the number of {name} is {phone}.", "{phone} is the phone of {name}."]),
    (dict(city=city, temperature=number(35), weather=of(["sunny", "rainy", "cloudy", "windy", "snowy", "foggy"])), ["it is {weather} in {city} with {temperature} degrees.", "{city}: {weather}, {temperature} degrees.", "today {city} has {temperature} degrees and it is {weather}.", "in {city} it is {weather} and {temperature} degrees."]),
    (dict(sender=name, receiver=name, amount=number(900)), ["{sender} [sent|paid|gave] {amount} [euros|dollars] to {receiver}.", "{receiver} got {amount} [euros|dollars] from {sender}.", "{amount} [euros|dollars] went from {sender} to {receiver}.", "a payment of {amount} from {sender} to {receiver}."]),
    (dict(team=lambda rng: pick(rng, ["Red", "Blue", "Green", "Golden"]) + " " + pick(rng, STORY_ANIMALS).capitalize() + "s", points=number(99), city=city), ["the {team} [of|from] {city} have {points} points.", "with {points} points, the {team} from {city} lead.", "{city} is home of the {team}, who scored {points} points."]),
]


def generic_value(rng, integer):
    if integer:
        return int(rng.random() * pick(rng, [10, 100, 1000, 10000]))
    roll = rng.random()
    if roll < 0.4:
        return pseudo_word(rng)
    if roll < 0.55:
        return pseudo_word(rng, 2).capitalize()
    if roll < 0.85:
        return pick(rng, pick(rng, [VALUES, VALUES, MORE_NOUNS, COLOUR_NAMES, ADJECTIVES, CITIES, NAMES, FOODS, OBJECTS, WEEKDAYS, MONTHS]))
    return pick(rng, ADJECTIVES) + " " + pick(rng, OBJECTS)


def generic(rng):
    """Keys that mean little or nothing, and a text that says what each one is."""
    keys = []
    while len(keys) < 2 + int(rng.random() * 3):
        key = pseudo_word(rng, 2) if rng.random() < 0.4 else pick(rng, pick(rng, [PARAM_STRINGS, PARAM_INTEGERS, TOOL_NOUNS, MORE_NOUNS, MORE_NOUNS]))
        if key not in keys:
            keys.append(key)
    values = {key: generic_value(rng, key in PARAM_INTEGERS or rng.random() < 0.35) for key in keys}
    said = list(values.items())
    if rng.random() < 0.5:
        rng.shuffle(said)
    if rng.random() < 0.3:
        extra = pick(rng, [k for k in PARAM_STRINGS + PARAM_INTEGERS if k not in keys])
        said.insert(int(rng.random() * (len(said) + 1)), (extra, generic_value(rng, extra in PARAM_INTEGERS)))
    style = pick(rng, ["sentences", "and", "colon", "with", "mixed", "mixed", "equals", "has", "plain", "is"])
    word = lambda key: key.replace("_", " ")
    if style == "sentences":
        text = " ".join(f"The {word(k)} is {v}." for k, v in said)
    elif style == "and":
        text = "The " + join([f"{word(k)} is {v}" for k, v in said]) + "."
    elif style == "colon":
        text = pick(rng, [", ", "; ", "\n"]).join(f"{word(k)}: {v}" for k, v in said)
    elif style == "equals":
        text = ", ".join(f"{word(k)} = {v}" for k, v in said)
    elif style == "plain":
        text = pick(rng, ["", "", "Data: ", "New entry: ", pick(rng, MORE_NOUNS).capitalize() + ": "]) + pick(rng, [", ", "; ", " / "]).join(f"{word(k)} {v}" for k, v in said)
    elif style == "is":
        text = ", ".join(f"the {word(k)} is {v}" for k, v in said) + "."
    elif style == "has":
        text = f"{pick(rng, ['It', 'The ' + pick(rng, OBJECTS), 'The ' + pseudo_word(rng, 2)])} has " + join([f"{pick(rng, ['the', 'a'])} {word(k)} {pick(rng, ['', 'of '])}{v}" for k, v in said]) + "."
    elif style == "with":
        text = f"{pick(rng, ['A ' + pick(rng, OBJECTS), 'One ' + pseudo_word(rng, 2), 'This is a ' + pick(rng, TOOL_NOUNS)])} with " + join([f"{word(k)} {v}" for k, v in said]) + "."
    else:
        text = " ".join(choose(rng, pick(rng, ["The {k} is {v}.", "{v} is the {k}.", "Its {k} is {v}.", "{k}: {v}.", "It has {v} as its {k}.", "We set the {k} to {v}.", "The {k} was {v}.", "For {k} we have {v}.", "{v} is its {k}.", "The {k} is called {v}.", "It comes with {k} {v}.", "There is a {k}, {v}.", "{k} {v} is noted."])).replace("{k}", word(k)).replace("{v}", str(v)) for k, v in said)
    return values, text[:1].upper() + text[1:]


def known(rng):
    fields, texts = pick(rng, DOMAINS)
    values = {key: make(rng) for key, make in fields.items()}
    text = fill(choose(rng, pick(rng, texts)), values)
    text = text[:1].upper() + text[1:]
    if rng.random() < 0.3:
        keep = rng.sample(sorted(values), max(1, len(values) - 1))
        values = {key: values[key] for key in keep}
    elif rng.random() < 0.5:
        keys = list(values)
        rng.shuffle(keys)
        values = {key: values[key] for key in keys}
    return values, text


def type_name(value):
    return "integer" if isinstance(value, int) else "string"


def schema_text(rng, values):
    """The wanted fields, as people write them down."""
    style = rng.random()
    if style < 0.35:
        return join(list(values)) if rng.random() < 0.5 else ", ".join(values)
    if style < 0.55:
        return "{" + ", ".join(f'"{key}": {type_name(value)}' for key, value in values.items()) + "}"
    if style < 0.75:
        return "{" + ", ".join(f'"{key}": "{type_name(value)}"' for key, value in values.items()) + "}"
    if style < 0.87:
        return ", ".join(f"{key} ({type_name(value)})" for key, value in values.items())
    return compact({"type": "object", "properties": {key: {"type": type_name(value)} for key, value in values.items()}, **({"required": list(values)} if rng.random() < 0.6 else {})})


ASKS = ["[extract|get|pull out|take|find|read] {s} [as|into|to|in] JSON [from|of] [this|this text|the text|the following|the sentence][:|:] {x}", "[extract|give me|return|write|output|make] [a |]JSON [object |][with|of] {s} [from|for|out of|about] [|this |the text |this text][:|: ]{x}", "{x} [Extract|Give me|Return|Write] {s} as JSON.", "{x} [JSON with|As JSON, give me|Return JSON with|JSON, please, with] {s}[.|]", "[text|sentence|input]: {x} [fields|schema|keys|JSON fields]: {s}", "[schema|fields|keys|JSON]: {s} [text|sentence|input]: {x}",
        "[fill|complete] this schema: {s} [with|from|using][| the text|: the text] {x}", "[turn|convert|put|change|transform] this [|text |sentence ]into JSON with [the keys |the fields |]{s}: {x}", "[can|could|would] you [extract|write|give me|return] {s} as JSON? {x}", "[from|out of] the text \"{x}\" [extract|get|take] {s} as JSON.", "[answer in JSON|reply with JSON|only JSON|in JSON] with {s}: {x}", "JSON for {x} with {s}"]
SYSTEMS = ["[Extract|Return|Write|Answer with] JSON with [the fields |the keys |]{s}.", "[You turn text into|You write|Reply only with|Answer only with] JSON [of this form|like this|with this schema|with the keys|with]: {s}"]


def extract(rng):
    values, text = generic(rng) if rng.random() < 0.55 else known(rng)
    wanted = schema_text(rng, values)
    answer = compact(values)
    think = "The user wants JSON with " + join(list(values)) + ". " + " ".join(f"{key} is {value}." for key, value in values.items())
    if rng.random() < 0.12:
        system = fill(choose(rng, pick(rng, SYSTEMS)), dict(s=wanted))
        return [Turn("json", text, answer, think, system=system)]
    separator = pick(rng, [" ", " ", "\n", "\n\n"])
    user = ask(rng, ASKS, s="{s}", x="{x}")
    if separator != " ":
        user = user.replace(" {x}", separator + "{x}") if user.rstrip().endswith("{x}") else user.replace("{x} ", "{x}" + separator)
    return [Turn("json", fill(user, dict(s=wanted, x=text)), answer, think)]
