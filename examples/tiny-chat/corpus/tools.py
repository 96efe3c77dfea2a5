"""Tool calls: a few well-known tools, and many made-up ones that teach copying from the prompt."""

import re

from .extract import city, email, name, thing, time, title
from .facts import UNKNOWN_TOPICS, UNKNOWN_ANSWERS
from .grammar import ask, choose, compact, fill, join, pick, pseudo_word, say, word_like
from .turns import Turn
from .words import (ADJECTIVES, CITIES, COLOUR_NAMES, ENUMS, FOODS, MONTHS, NAMES, OBJECTS, PARAM_BOOLEANS, PARAM_INTEGERS, PARAM_STRINGS, PLACES,
                    MORE_NOUNS, MORE_VERBS, TOOL_NOUNS, TOOL_VERBS, VALUES, WEEKDAYS)


def tool(tool_name, description, properties, required=None):
    return {"type": "function", "function": {"name": tool_name, "description": description, "parameters": {"type": "object", "properties": properties, "required": list(properties) if required is None else required}}}


STRING, INTEGER, NUMBER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}


def styled(rng, *words):
    """words as snake_case, camelCase, and so on."""
    style = rng.random()
    if style < 0.7:
        return "_".join(words)
    if style < 0.88:
        return words[0] + "".join(word.capitalize() for word in words[1:])
    return "-".join(words) if style < 0.95 else "".join(words)


# The well-known tools. Each returns (tool, arguments, request, result, answer).

def weather(rng):
    place = city(rng)
    key = pick(rng, ["city", "city", "location", "place", "town"])
    definition = tool(styled(rng, *pick(rng, [["get", "weather"], ["weather"], ["current", "weather"], ["get", "current", "weather"], ["weather", "report"], ["check", "weather"], ["forecast"], ["daily", "forecast"], ["sky", "report"], ["meteo"], ["climate", "now"], ["outdoor", "conditions"]])), choose(rng, pick(rng, ["[Get|Returns|Gives|Look up|Tells] the [current |]weather [of|in|for] a [city|place]", "[Shows|Reads|Reports|Finds|Knows] the [weather|weather report|weather conditions|forecast|weather forecast] [of|in|for|at] a [city|place|region|village|location|country|point on the map]", "[Weather|Forecast|Weather forecast|Weather conditions|Temperature and rain|Temperature and wind] [by|of a|for a|in a] [city|place|region|village|location]", "[Predict|Predicts|Say|Says] [the weather|what the weather will be|how the weather is] [of|in|for|at] [a|some|one] [city|place|region|village|location]"])), {key: STRING})
    arguments = {key: place}
    user = ask(rng, ["[what is|how is|what's|how's] the weather [like |]in {c}[| today| now| right now| at the moment]?", "[is it|will it be] [raining|sunny|cold|warm|snowing|hot|windy] in {c}[| today| now]?", "weather in {c}[?|]", "[tell me|check|get|look up|show me|give me] the weather [for|in|of] {c}.", "do I need [an umbrella|a coat|a hat|sunglasses] in {c}[| today]?", "what [temperature|weather] [is it in|does|is there in] {c}[| have]?", "[how warm|how cold|how hot] is it in {c}?", "I [travel|go|fly|drive] to {c}[| today| tomorrow]. [What is|How is] the weather[| there]?", "[what does the forecast say|what is the forecast|show the forecast|forecast] [for|in] {c}[?|]", "[is there|will there be|do they have|can we count on] [rain|snow|sun|fog|a storm|wind|frost] in {c}[| today| tomorrow]?", "[we are|my aunt is|I will be|they are] in {c}[| today| soon]. [How does the weather look|What does the forecast say|Look at the weather|What weather is there][?|]"], c=place)
    degrees, sky = int(rng.random() * 40) - 5, pick(rng, ["sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy"])
    result = pick(rng, [compact({"temperature": degrees, "condition": sky}), compact({key: place, "temperature": degrees, "condition": sky}), compact({"condition": sky, "temperature": degrees}), f"{sky}, {degrees} degrees", compact({"temp": degrees, "sky": sky})])
    return definition, arguments, user, result, say(rng, ["It is {s} in {c}, with {d} degrees.", "The weather in {c} is {s}, with {d} degrees."], s=sky, c=place, d=degrees)


def calculator(rng):
    a, b = int(rng.random() * pick(rng, [100, 1000, 10000])), 1 + int(rng.random() * pick(rng, [20, 100, 1000]))
    operation, words = pick(rng, [("+", ["plus", "+"]), ("-", ["minus", "-"]), ("*", ["times", "*", "x", "multiplied by"]), ("/", ["divided by", "/"])])
    key = pick(rng, ["expression", "expression", "formula", "input", "query"])
    definition = tool(pick(rng, ["calculator", "calculate", "calc", "compute", "evaluate", "do_math", "math", "abacus", "number_cruncher", "add_machine", "maths_helper", "solve", "reckon"]), choose(rng, "[Calculate|Evaluate|Compute|Works out|Solve|Solves|Reckon|Finds|Does|Gives] [an expression|a formula|a sum|arithmetic|the result of an expression|the value of a formula|a piece of arithmetic|sums and products|what numbers make|the outcome of a sum]"), {key: STRING})
    user = ask(rng, ["[what is|how much is|calculate|compute|work out|what's|tell me|find] {a} {w} {b}[?|.]", "{a} {w} {b}[?| =|]", "[I need|give me] the result of {a} {w} {b}[.|]", "[solve|reckon|do the maths|do the sum|use the tool|use your tool|ask the tool|run the numbers][ for|:|] {a} {w} {b}[.|]", "[my homework says|the bill says|here is a sum|a sum]: {a} {w} {b}[.|]", "[I wonder|I would like to know|can you say|do you know] [how much|what] {a} {w} {b} [makes|gives|comes to][.|?]"], a=a, b=b, w=pick(rng, words))
    value = {"+": a + b, "-": a - b, "*": a * b, "/": round(a / b, 2)}[operation]
    return definition, {key: f"{a} {operation} {b}"}, user, pick(rng, [str(value), compact({"result": value}), compact({"value": value})]), say(rng, ["The result is {v}.", "{a} {o} {b} = {v}."], v=value, a=a, b=b, o=operation)


def clock(rng):
    place = city(rng)
    key = pick(rng, ["city", "city", "location", "place", "timezone"])
    definition = tool(styled(rng, *pick(rng, [["get", "time"], ["current", "time"], ["clock"], ["world", "clock"], ["time", "in"], ["get", "current", "time"], ["zone", "clock"], ["hour", "now"], ["town", "bell"], ["sundial"], ["clock", "face"]])), choose(rng, pick(rng, ["[Get|Returns|Tells] the [current |local |]time [of|in] a [city|place]", "[Shows|Reads|Finds|Says|Knows] [the time|the hour|the local time|what time it is|what hour it is|the time of day|what the clocks say] [of|in|at] a [city|place|region|village|country|location]", "[Time|Hour|Time of day|Local time|Clock] [of a|in a|for a|by] [city|place|region|village|country|location]"])), {key: STRING})
    user = ask(rng, ["what time is it in {c}[| now| right now]?", "[what is|what's|tell me] the [|local |current ]time in {c}[?|.]", "how late is it in {c}?", "[time|clock] in {c}[?|]", "is it [day|night|late|morning|evening] in {c}?", "do you know the time in {c}?", "[what hour do they have|what do the clocks say|what does the clock say|how late do they have it] in {c}[| now]?", "[my sister is|my boss is|I have to call someone|we meet friends|they live] in {c}. [What is the time there|How late is it there|What do the clocks say there][?| now?]", "[hour|local time|time of day] in {c}[?|]"], c=place)
    now = time(rng)
    return definition, {key: place}, user, pick(rng, [now, compact({"time": now}), compact({key: place, "time": now})]), say(rng, ["It is {t} in {c}.", "The time in {c} is {t}."], t=now, c=place)


def search(rng):
    topic = pick(rng, [lambda: pick(rng, UNKNOWN_TOPICS), lambda: f"{pick(rng, ADJECTIVES)} {pick(rng, OBJECTS)}", lambda: pseudo_word(rng, 2), lambda: f"{pick(rng, NAMES)} {pseudo_word(rng, 2).capitalize()}", lambda: f"{pseudo_word(rng)} {pseudo_word(rng)}", lambda: f"{pick(rng, FOODS)} recipe", lambda: f"{pick(rng, PLACES)} in {pick(rng, CITIES)}"])()
    key = pick(rng, ["query", "query", "q", "text", "question", "term"])
    definition = tool(styled(rng, *pick(rng, [["search"], ["web", "search"], ["search", "web"], ["find"], ["look", "up"], ["lookup"], ["google"], ["internet", "search"], ["ask", "library"], ["browse", "archive"], ["wiki"], ["query", "almanac"], ["knowledge", "base"], ["read", "dictionary"], ["fact", "finder"]])), choose(rng, pick(rng, ["[Search|Searches|Look things up on|Query] [the web|the internet|online]", "[Search|Searches|Browse|Ask|Query|Look things up in|Reads] [a|the] [wiki|library|almanac|dictionary|knowledge base|archive|handbook|atlas|catalog]"])), {key: STRING})
    user = ask(rng, ["[search|look|google|search the web|search online|look online|search the internet] for {q}.", "[find|find me|get me|look up|get] [information|facts|pages|something|news] [about|on] {q}[.|]", "[look up|search] {q}[| on the web| online| on the internet].", "[what can you find|what does the web say|what do you find] about {q}?", "I [want|need|would like] to [know more|read something|learn] about {q}.", "[search|ask|query|browse|check] the [wiki|library|almanac|dictionary|archive|handbook|atlas] [for|about|on] {q}[.|]", "look [in|into] the [wiki|library|almanac|dictionary|archive|handbook|atlas] for {q}[.|]", "[run|start|make|try] a search [for|on|about] {q}[.|]", "what does the [wiki|library|almanac|dictionary|archive|handbook|atlas] say about {q}?"], q=topic)
    found = choose(rng, pick(rng, ["It is a [kind of|sort of|type of] {o}", "{n} wrote about it in {y}", "There are {k} pages about it", "It [comes from|was found in|is made in] {c}"]))
    found = fill(found, dict(o=pick(rng, OBJECTS), n=name(rng), y=1900 + int(rng.random() * 120), k=int(rng.random() * 1000), c=city(rng)))
    return definition, {key: topic}, user, pick(rng, [found + ".", compact({"result": found}), compact({"results": [found]})]), say(rng, ["I found this: {f}.", "The search says: {f}."], f=found)


def reminder(rng):
    what, when = choose(rng, pick(rng, ["call {n}", "buy {o}", "water the plants", "feed the {a}", "pay the rent", "visit {n}", "clean the {o}", "send the {o}"])), time(rng)
    what = fill(what, dict(n=name(rng), o=thing(rng), a=pick(rng, ["dog", "cat", "fish", "hens"])))
    text_key, time_key = pick(rng, ["text", "message", "task", "title"]), pick(rng, ["time", "at", "when"])
    definition = tool(styled(rng, *pick(rng, [["set", "reminder"], ["create", "reminder"], ["add", "reminder"], ["remind"], ["reminder"]])), choose(rng, "[Set|Create|Add|Makes] a reminder"), {text_key: STRING, time_key: STRING})
    user = ask(rng, ["remind me to {x} at {t}[.|]", "[set|create|make|add] a reminder to {x} at {t}.", "at {t} [remind me|I have|I need|I must] to {x}. [Remind me|Set a reminder].", "I [want|have|need] to {x} at {t}, [please remind me|set a reminder|remind me]."], x=what, t=when)
    return definition, {text_key: what, time_key: when}, user, pick(rng, ["ok", "done", compact({"status": "ok"}), compact({"ok": True})]), say(rng, ["Done: I will remind you to {x} at {t}.", "I have set a reminder to {x} at {t}."], x=what, t=when)


def translate(rng):
    text = pick(rng, [pick(rng, OBJECTS), f"the {pick(rng, ADJECTIVES)} {pick(rng, OBJECTS)}", pick(rng, ["good morning", "thank you", "I am hungry", "where is the station", "see you soon"]), pseudo_word(rng, 2)])
    language = pick(rng, "French German Spanish Italian Portuguese Dutch Polish Greek Latin Japanese Chinese Turkish Swedish".split())
    to = pick(rng, ["language", "language", "to", "target_language", "target"])
    definition = tool(pick(rng, ["translate", "translator", "translate_text", "translateText"]), choose(rng, "[Translate|Translates] [a text|text|words] [to|into] [another language|a language]"), {"text": STRING, to: STRING})
    user = ask(rng, ['translate {x} [to|into] {l}[.|]', "[how do you say|what is|say] {x} in {l}[?|]", "[I need|give me] {x} in {l}[.|]"], x=f'"{text}"', l=language)
    result = pseudo_word(rng, 2)
    return definition, {"text": text, to: language}, user, pick(rng, [result, compact({"translation": result}), compact({"text": result})]), say(rng, ['In {l}, that is "{r}".'], l=language, r=result)


def currency(rng):
    amount, source, target = 1 + int(rng.random() * 1000), *rng.sample("USD EUR GBP JPY CHF PLN SEK INR CAD AUD".split(), 2)
    definition = tool(styled(rng, *pick(rng, [["convert", "currency"], ["convert"], ["exchange"], ["currency", "converter"]])), choose(rng, "[Convert|Converts|Exchange] [money|an amount|currencies]"), {"amount": pick(rng, [INTEGER, NUMBER]), "from": STRING, "to": STRING})
    user = ask(rng, ["[convert|change|exchange] {a} {s} [to|into] {t}[.|]", "[how much|what] is {a} {s} in {t}?", "{a} {s} [in|to] {t}[?|]"], a=amount, s=source, t=target)
    value = round(amount * (0.5 + rng.random()), 2)
    return definition, {"amount": amount, "from": source, "to": target}, user, pick(rng, [str(value), compact({"result": value}), compact({"amount": value, "currency": target})]), say(rng, ["{a} {s} is {v} {t}.", "That is {v} {t}."], a=amount, s=source, t=target, v=value)


def mail(rng):
    to, body = (email(rng) if rng.random() < 0.5 else name(rng)), pick(rng, ["I am late", "see you tomorrow", "happy birthday", "the {o} is ready", "please call me", "the {o} is broken", "thank you for the {o}"]).replace("{o}", thing(rng))
    to_key, text_key = pick(rng, ["to", "recipient", "to"]), pick(rng, ["text", "body", "message"])
    definition = tool(styled(rng, *pick(rng, [["send", "email"], ["send", "message"], ["send", "mail"], ["email"], ["message"]])), choose(rng, "[Send|Sends] [an email|a message|a mail]"), {to_key: STRING, text_key: STRING})
    user = ask(rng, ['[send|write] [an email|a message|a mail] to {t}: "{b}"', '[send|write] {t} [an email|a message|a mail] [that says|saying|with the text] "{b}"', '[tell|message|email|write to] {t}: "{b}"', '[send|mail] "{b}" to {t}[.|]'], t=to, b=body)
    return definition, {to_key: to, text_key: body}, user, pick(rng, ["sent", "ok", compact({"status": "sent"}), compact({"sent": True})]), say(rng, ["Done: your message to {t} has been sent.", "I have sent your message to {t}."], t=to)


def timer(rng):
    minutes = 1 + int(rng.random() * 90)
    key = pick(rng, ["minutes", "minutes", "duration", "length"])
    definition = tool(styled(rng, *pick(rng, [["set", "timer"], ["start", "timer"], ["timer"]])), choose(rng, "[Set|Start|Starts] a timer"), {key: INTEGER})
    user = ask(rng, ["[set|start] a timer [for|of] {m} minutes[.|]", "timer: {m} minutes", "[wake me|tell me|ring] in {m} minutes[.|]", "[I need|give me] a {m} minute timer[.|]"], m=minutes)
    return definition, {key: minutes}, user, pick(rng, ["ok", "started", compact({"status": "started"}), compact({"ok": True})]), say(rng, ["The timer is set for {m} minutes.", "Done: the timer runs for {m} minutes."], m=minutes)


def lights(rng):
    room, state = pick(rng, ["kitchen", "bedroom", "hall", "office", "garden", "cellar", "bathroom", "attic", pseudo_word(rng, 2)]), pick(rng, ["on", "off"])
    definition = tool(styled(rng, *pick(rng, [["set", "light"], ["switch", "light"], ["light"], ["control", "lights"]])), choose(rng, "[Switch|Turn|Turns] a light on or off"), {"room": STRING, "state": {"type": "string", "enum": ["on", "off"]}})
    user = ask(rng, ["[turn|switch] {s} the [light|lights|lamp] in the {r}[.|]", "[turn|switch] the {r} [light|lights] {s}[.|]", "[light|lights] {s} in the {r}[.|]", "I want the {r} light {s}."], r=room, s=state)
    return definition, {"room": room, "state": state}, user, pick(rng, ["ok", "done", compact({"status": "ok"})]), say(rng, ["Done: the {r} light is {s}.", "The light in the {r} is now {s}."], r=room, s=state)


WELL_KNOWN = [weather, weather, weather, calculator, calculator, clock, clock, search, search, reminder, translate, currency, mail, timer, lights]


# Made-up tools.

def made_up_string(rng):
    roll = rng.random()
    if roll < 0.18:
        return pseudo_word(rng)
    if roll < 0.34:
        return word_like(rng) if rng.random() < 0.7 else word_like(rng).capitalize()
    if roll < 0.4:
        return pseudo_word(rng, 2).capitalize()
    if roll < 0.7:
        return pick(rng, pick(rng, [VALUES, VALUES, MORE_NOUNS, CITIES, NAMES, COLOUR_NAMES, OBJECTS, FOODS, PLACES, WEEKDAYS, MONTHS, ADJECTIVES]))
    if roll < 0.78:
        return pick(rng, ADJECTIVES) + " " + pick(rng, OBJECTS)
    if roll < 0.83:
        return name(rng)
    if roll < 0.88:
        return f"{pick(rng, OBJECTS) if rng.random() < 0.5 else pseudo_word(rng)}.{pick(rng, ['txt', 'pdf', 'csv', 'png', 'json', 'md'])}"
    if roll < 0.93:
        return f"{pseudo_word(rng, 1).upper()}-{int(rng.random() * 1000)}"
    return pseudo_word(rng) + " " + pseudo_word(rng)


def parameter(rng):
    """(key, schema, value) of one made-up parameter."""
    roll = rng.random()
    if roll < 0.52:
        key = pick(rng, PARAM_STRINGS) if rng.random() < 0.4 else new_word(rng, MORE_NOUNS)
        if rng.random() < 0.08:
            key = f"{pick(rng, TOOL_NOUNS)}_{key}"
        return key, STRING, made_up_string(rng)
    if roll < 0.8:
        key = pick(rng, PARAM_INTEGERS) if rng.random() < 0.4 else new_word(rng, MORE_NOUNS)
        if rng.random() < 0.15:
            return key, NUMBER, round(rng.random() * 100, 1)
        return key, INTEGER, int(rng.random() * pick(rng, [10, 100, 1000]))
    if roll < 0.9:
        key = pick(rng, sorted(ENUMS)) if rng.random() < 0.6 else pick(rng, PARAM_STRINGS) if rng.random() < 0.6 else pseudo_word(rng, 2)
        options = ENUMS.get(key) or [pseudo_word(rng) for _ in range(pick(rng, [2, 3, 4]))]
        return key, {"type": "string", "enum": options}, pick(rng, options)
    return pick(rng, PARAM_BOOLEANS), BOOLEAN, rng.random() < 0.5


def words_of(key):
    return key.replace("_", " ")


def new_word(rng, known):
    """A word of `known`, or one that only the prompt tells."""
    roll = rng.random()
    return pick(rng, known) if roll < 0.35 else word_like(rng) if roll < 0.82 else pseudo_word(rng, pick(rng, [1, 2, 2]))


def a_verb(rng):
    roll = rng.random()
    return pick(rng, TOOL_VERBS) if roll < 0.2 else new_word(rng, MORE_VERBS)


def a_noun(rng):
    roll = rng.random()
    return pick(rng, TOOL_NOUNS) if roll < 0.2 else new_word(rng, MORE_NOUNS)


def made_up_tool(rng, most=4, verb=None, noun=None):
    """A tool that nobody has seen: (tool, verb, noun, arguments)."""
    verb = verb or a_verb(rng)
    noun = noun or a_noun(rng)
    parameters = {}
    for _ in range(pick(rng, [0, 1, 1, 1, 2, 2, 3, most])):
        key, schema, value = parameter(rng)
        parameters[key] = (schema, value)
    middle = [pick(rng, ADJECTIVES)] if rng.random() < 0.1 else []
    article = pick(rng, ["the", "a", "a", ""])
    description = say(rng, pick(rng, ["{v} {a} {n}", "{v} {a} {n}", "{v}s {a} {n}", "Use this to {v} {a} {n}", "{v} {a} {n} in the system", "Tool to {v} {a} {n}", "{v} {n}s"]), v=verb, a=article, n=noun).replace("  ", " ")
    if rng.random() < 0.06:
        description = ""
    return tool(styled(rng, verb, *middle, noun), description, {key: schema for key, (schema, _) in parameters.items()}), verb, noun, {key: value for key, (_, value) in parameters.items()}


def shown(rng, key, value):
    """How a user says `key = value`."""
    word = words_of(key)
    if isinstance(value, bool):
        return choose(rng, pick(rng, [f"{word} {'on' if value else 'off'}", f"{word} = {'true' if value else 'false'}", f"{word} {'yes' if value else 'no'}", f"{word} {'true' if value else 'false'}"] + ([word, f"make it {word}"] if value else [f"not {word}"])))
    quoted = f'"{value}"' if isinstance(value, str) and rng.random() < 0.2 else str(value)
    return pick(rng, [f"{word} {quoted}", f"{word} {quoted}", f"{word} = {quoted}", f"{word}: {quoted}", f"the {word} {quoted}", f"{word} of {quoted}", f"{quoted} as {word}", f"{quoted} as the {word}", f"{word} set to {quoted}"])


def made_up_request(rng, definition, verb, noun, arguments):
    tool_name = definition["function"]["name"]
    items = list(arguments.items())
    if rng.random() < 0.35:
        rng.shuffle(items)
    if not items:
        return ask(rng, ["{v} [the|a|my|our|this] {n}[.|]", "[can|could|would] you {v} [the|a|my] {n}?", "I [want|need|would like] to {v} [the|a|my] {n}.", "{v} {n}", "[use|call|run|try] {t}[.|]", "[let us|let's|now] {v} [the|a] {n}.", "[it would be great if you could|be so good and|try to|somebody should|make sure to|you should|the plan is to|I was told to|we must] {v} [the|a|her|one|some|every] {n}[.|]"], v=verb, n=noun, t=tool_name)
    if len(items) == 1 and rng.random() < 0.5 and not isinstance(items[0][1], bool):
        (_, value), = items
        return ask(rng, ["{v} [the|a|my] {n} [for|with|in|at|from|to|of|named|called|on] {x}[.|]", "{v} [the|] {n} {x}[.|]", "[can|could|would] you {v} [the|a|my] {n} [for|with|in|at|named|called] {x}?", "I [want|need|would like] to {v} [the|a] {n} [for|with|in|named|called] {x}.", "{n} {x}: {v} it[.|]", "{v} {x}[.|]", "[use|call|run] {t} [with|for|on] {x}[.|]", "[which|what] {n} [is|was|are] {x}? {v} it."], v=verb, n=noun, x=items[0][1], t=tool_name)
    values = [shown(rng, key, value) for key, value in items]
    listed = join(values) if rng.random() < 0.6 else ", ".join(values)
    sentences = " ".join(f"The {words_of(key)} is {str(value).lower() if isinstance(value, bool) else value}." for key, value in items)
    clauses = join([f"the {words_of(key)} is {str(value).lower() if isinstance(value, bool) else value}" for key, value in items])
    return ask(rng, ["{v} [the|a|my|our] {n} [with|using|, with|, use] {l}[.|]", "{v} [the |a |]{n}: {l}", "[can|could|would] you {v} [the|a|my] {n} with {l}?", "I [want|need|would like] to {v} [the|a] {n} with {l}.", "{v} [the|a] {n}. {s}", "[use|call|run|try] {t} with {l}[.|]", "{s} {v} the {n}[.|, please.]", "with {l}, {v} the {n}.", "{n} to {v}: {l}", "[we have to|let us|I must] {v} [the|a] {n}, {l}[.|]", "[it would be great if you could|be so good and|try to|I am asking you to|the plan is to|somebody should|make sure to|you should|next,|do this:] {v} [the|a|his|her|one|every|some] {n} with {l}[.|]", "[it would be great if you could|be so good and|try to|somebody should|make sure to|you should|the plan is to] {v} [the|a|her|one|some] {n}. {s}", "{v} [the|a] {n}[;|,| -| where| so that] {c}[.|]", "[start|run|trigger|fire|launch] [the tool|the function|] {t}[:| with| using] {l}[.|]"], v=verb, n=noun, l=listed, s=sentences, c=clauses, t=tool_name)


def made_up_result(rng, verb, noun):
    """A result of a made-up tool and what to say about it."""
    roll = rng.random()
    if roll < 0.25:
        return pick(rng, ["ok", "done", "success", compact({"status": "ok"}), compact({"success": True}), compact({"ok": True})]), say(rng, ["Done.", "Done: it worked."])
    if roll < 0.4:
        problem = choose(rng, pick(rng, ["{n} not found", "no permission", "time out", "the {n} is [locked|missing|full|busy]", "unknown {n}", "not allowed", pseudo_word(rng, 2)])).replace("{n}", noun)
        return pick(rng, [compact({"error": problem}), f"error: {problem}", f"Error: {problem}"]), say(rng, ["The tool reported an error: {p}.", "That did not work: {p}."], p=problem)
    if roll < 0.5:
        value = made_up_string(rng) if rng.random() < 0.6 else int(rng.random() * 1000)
        return pick(rng, [str(value), compact({"result": value}), compact({"value": value})]), say(rng, ["The result is {v}.", "The answer is {v}."], v=value)
    keys = rng.sample(PARAM_STRINGS + PARAM_INTEGERS, pick(rng, [1, 1, 2, 3]))
    if rng.random() < 0.3:
        keys[0] = pseudo_word(rng, 2)
    values = {key: (int(rng.random() * 1000) if key in PARAM_INTEGERS else made_up_string(rng)) for key in keys}
    result = compact(values) if rng.random() < 0.6 else str(compact(values)).replace(": ", ":").replace(", ", ",") if rng.random() < 0.5 else ", ".join(f"{key}: {value}" for key, value in values.items())
    return result, "The " + join([f"{words_of(key)} is {value}" for key, value in values.items()]) + "."


def renamed(rng, definition, arguments):
    """The same tool under names that only the prompt tells."""
    function = definition["function"]
    old = function["parameters"]["properties"]
    keys = {key: new_word(rng, PARAM_STRINGS + MORE_NOUNS) if rng.random() < 0.65 else key for key in old}
    if len(set(keys.values())) < len(keys):
        keys = {key: key for key in old}
    roll = rng.random()
    words = function["name"].split("_") if "_" in function["name"] else [function["name"]]
    new_name = styled(rng, a_verb(rng), words[-1]) if roll < 0.2 else styled(rng, words[0], a_noun(rng)) if roll < 0.35 else styled(rng, a_verb(rng), a_noun(rng)) if roll < 0.75 else a_noun(rng) if roll < 0.85 else function["name"]
    new = tool(new_name, function["description"], {keys[key]: schema for key, schema in old.items()})
    return new, {keys[key]: value for key, value in arguments.items()}


def well_known(rng):
    definition, arguments, user, result, answer = pick(rng, WELL_KNOWN)(rng)
    if rng.random() < 0.7:
        definition, arguments = renamed(rng, definition, arguments)
    return definition, arguments, user, result, answer


def made_up(rng):
    definition, verb, noun, arguments = made_up_tool(rng)
    user = made_up_request(rng, definition, verb, noun, arguments)
    result, answer = made_up_result(rng, verb, noun)
    return definition, arguments, user, result, answer


# By what a description says, whatever the name: two tools of one purpose would leave open which is meant.
PURPOSES = {"weather": "weather|forecast|temperature and", "calculator": "expression|formula|arithmetic|a sum|sums|numbers make", "clock": "time|hour|clock", "search": "search|look things up|query|browse|ask|reads|dictionary",
            "reminder": "reminder", "translate": "translate", "currency": "money|amount|currenc", "mail": "email|message|mail", "timer": "timer", "lights": "light"}


def purposes(definition):
    said = definition["function"]["description"].lower()
    return {purpose for purpose, words in PURPOSES.items() if re.search(words, said)}


def distractors(rng, count, wanted):
    """Tools beside the `wanted` ones, none of which could be meant instead."""
    tools, names = [], {other["function"]["name"] for other in wanted}
    taken = set().union(*map(purposes, wanted)) if wanted else set()
    while len(tools) < count:
        if rng.random() < 0.4:
            definition, arguments = pick(rng, WELL_KNOWN)(rng)[:2]
            other = renamed(rng, definition, arguments)[0] if rng.random() < 0.5 else definition
        elif wanted and rng.random() < 0.3:
            # One that has a word of the wanted one's name: the other word decides.
            words = re.findall("[A-Z]?[a-z]+", wanted[0]["function"]["name"])
            verb, noun = (words[0], None) if rng.random() < 0.5 else (None, words[-1].lower())
            other = made_up_tool(rng, 3, verb, noun)[0]
        else:
            other = made_up_tool(rng, 3)[0]
        if other["function"]["name"] not in names and not purposes(other) & taken:
            names.add(other["function"]["name"])
            taken |= purposes(other)
            tools.append(other)
    return tools


def reasoning(definition, arguments):
    said = "It needs no arguments." if not arguments else "It needs " + join([f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in arguments.items()]) + "."
    return f"The tool {definition['function']['name']} fits. {said}"


def tool_call(rng):
    """A call of the one tool that fits, among up to three others, and often the answer from its result."""
    definition, arguments, user, result, answer = (made_up if rng.random() < 0.6 else well_known)(rng)
    turn = Turn("tool", user, think=reasoning(definition, arguments), calls=[(definition["function"]["name"], arguments)], tools=[definition])
    if rng.random() < 0.55:
        turn.results, turn.answer = [result], answer
    if rng.random() < 0.06:
        second = pick(rng, [weather, clock])
        definition, arguments, _, result, answer = second(rng)
        other = city(rng)
        key = next(iter(arguments))
        place = arguments[key]
        thing_asked = "weather" if second is weather else "time"
        turn.user = ask(rng, ["[what is|tell me|check|get] the {x} in {a} and [in |]{b}[?|.]", "{x} in {a} and {b}[?|]", "compare the {x} [in|of] {a} and {b}.", "[what is|tell me] the {x} in {a}, and in {b}[?|.]"], a=place, b=other, x=thing_asked)
        turn.tools = [definition]
        turn.calls = [(definition["function"]["name"], {key: place}), (definition["function"]["name"], {key: other})]
        turn.think = f"Two calls of {definition['function']['name']}: one for {place} and one for {other}."
        turn.results, turn.answer = [], ""
    return [turn]


def no_tool_fits(rng):
    """Tools are there, but none of them does what is asked for."""
    kind = pick(rng, [weather, clock, search, reminder, translate, currency, mail, timer, lights])
    definition, _, user, _, _ = kind(rng)
    return [Turn("no_tool", user, say(rng, ["Sorry, I have no tool for that.", "I have no tool that can do that."]), "None of the tools fits. I say so.")], definition
