"""The unseen half of the evaluation: requests that the corpus never makes.

It has wordings of its own for every skill, and pools of its own: tool verbs and nouns, parameter names, schemas,
list words, story words, names. Nothing here is taken from corpus/, except what there is to know (capitals,
colours, opposites, animals), which no wording can replace. test_corpus.py checks that the pools do not meet
and that no request of this file turns up in the corpus.
"""

import json

from corpus.tools import tool
from corpus.turns import Turn
from corpus.words import ANIMALS, CAPITALS, COLOURS, OPPOSITES

NAMES = "Ingrid Pascal Zelda Rufus Odette Kasper Mirela Tobias Yvette Anselm Dagmar Florian Saskia Lorenz Beatrix Cosmo".split()
CITIES = "Tampere Gdansk Bilbao Aarhus Utrecht Tbilisi Nantes Trieste Coimbra Galway Malmo Linz Basel Kazan Quito Perth".split()
ITEMS = "walnut teapot saddle anchor violet cactus ribbon trumpet pebble mustard pigeon gherkin cider velvet magnet parsley lobster thimble turnip canoe".split()
HEROES = "walrus penguin gnome magician postman llama raccoon juggler".split()
THINGS = "teapot trumpet umbrella-stand suitcase snowball cactus typewriter banjo".split()
SPOTS = "windmill harbor-bar glacier railway junkyard circus vineyard bakery-yard".split()
VERBS = "dispatch enroll calibrate ignite harvest summon polish renew throttle quarantine inspect donate evict transcribe hoist".split()
NOUNS = "turbine passport beehive vineyard satellite greenhouse ferry locomotive dossier aquarium drawbridge furnace voucher kennel tractor".split()
STRING_KEYS = "sponsor variety curator district gadget crew remark basin emblem vendor".split()
INTEGER_KEYS = "pressure altitude mileage voltage headcount dosage torque latency tonnage shelves".split()
WORDS = "teal crimson Zagora Wimmer maple thursday-evening quartz delta-nine Oberon granite saffron tundra Pelham".split()


def pick(rng, items):
    return items[int(rng.random() * len(items))]


def capital(rng):
    country, city = pick(rng, list(CAPITALS.items()))
    user = pick(rng, ["Which city do the people of {c} call their capital?", "My quiz asks about {c}: what is its capital?", "I am learning capitals. What would I write next to {c}?", "Remind me what the capital of {c} was again.", "{c}'s capital city, what's it called?", "Could you let me know {c}'s capital?", "Name that capital: {c}."])
    return Turn("capital", user.format(c=country), keys=[city])


def colour(rng):
    thing, name = pick(rng, list(COLOURS.items()))
    user = pick(rng, ["If I painted {t}, which colour should I use?", "Suppose I draw {t}. What colour do I need?", "Looking at {t}, what colour do I see?", "What color would you say {t} is?", "Which colour comes to mind for {t}?"])
    return Turn("colour", user.format(t=thing), keys=[name])


def opposite(rng):
    word, other = pick(rng, list(OPPOSITES.items()))
    user = pick(rng, ["What's the exact opposite of {w}?", "Give me a word that is the opposite of {w}.", "Which word is opposite in meaning to {w}?", "My crossword says: opposite of {w}. Any idea?", "Opposites game: I say {w}, you say?", "{w} has which opposite?"])
    return Turn("opposite", user.format(w=word), keys=[other])


def animal(rng):
    name, facts = pick(rng, list(ANIMALS.items()))
    the = ("an " if name[0] in "aeiou" else "a ") + name
    kind = pick(rng, ["young", "legs", "food", "home", "sound"])
    user = {"young": ["What name do we give to a baby {n}?", "When {t} has a baby, what is the baby called?"], "legs": ["Do you know how many legs {t} has got?", "If I see {t}, how many legs can I count?"],
            "food": ["What sort of food does {t} enjoy?", "I met {t} and it was hungry. What does {t} eat?"], "home": ["In which place would {t} make its home?", "Where would I go to see where {t} lives?"], "sound": ["Which sound comes from {t}?", "Imitate {t}: what sound does it make?"]}[kind]
    return Turn("animal", pick(rng, user).format(n=name, t=the), keys=[facts[kind]])


def arithmetic(rng):
    operation = pick(rng, "++--*/")
    if operation in "+-":
        a, b = sorted((int(rng.random() * 60), int(rng.random() * 40)), reverse=True)
        value = a + b if operation == "+" else a - b
    else:
        a, b = 1 + int(rng.random() * 10), 1 + int(rng.random() * 10)
        a, value = (a, a * b) if operation == "*" else (a * b, a)
    user = {"+": ["If you put {a} and {b} together, what number comes out?", "Sum up {a} and {b} for me.", "I walked {a} miles, then another {b} miles. How many miles did I walk?", "My total is {a} + {b}. What is that?", "{n} baked {a} rolls and later {b} more rolls. How many rolls are there?"],
            "-": ["What remains of {a} after taking off {b}?", "I owned {a} marbles and lost {b}. How many marbles do I have left?", "Starting at {a}, go down by {b}. Where am I?", "Help me with {a} - {b}, what is the outcome?", "{n} had {a} stamps and gave {b} of them to a friend. How many stamps are left?"],
            "*": ["What does {b} multiplied by {a} come to?", "Each of {a} shelves holds {b} jars. How many jars are there?", "Help me with {a} * {b}, what is the outcome?", "Tell me the result when {a} is multiplied by {b}."],
            "/": ["If {a} sweets go to {b} kids in equal parts, how many does each kid get?", "Help me with {a} / {b}, what is the outcome?", "Split {a} into {b} equal parts. How large is one part?"]}[operation]
    return Turn("arithmetic", pick(rng, user).format(a=a, b=b, n=pick(rng, NAMES)), keys=[f"={value}"])


def reverse(rng):
    items = rng.sample(ITEMS, 2 + int(rng.random() * 5)) if rng.random() < 0.7 else rng.sample(range(100), 3 + int(rng.random() * 3))
    listed = ", ".join(map(str, items))
    user = pick(rng, ["Here is a list: {l}. Now give it back to me in reverse.", "Swap the order of this list so the last comes first: {l}", "Read this list from the back to the front: {l}", "I need the following in reverse order please: {l}", "Mirror the order of: {l}", "What does {l} look like reversed?"])
    return Turn("reverse", user.format(l=listed), answer=", ".join(map(str, items[::-1])))


def sort(rng):
    if rng.random() < 0.6:
        items = rng.sample(range(100), 3 + int(rng.random() * 3))
        down = rng.random() < 0.3
        user = pick(rng, ["Line these up beginning with the largest: {l}", "Sort these numbers, the largest first: {l}", "From high to low, please: {l}"] if down else ["Line these up beginning with the smallest: {l}", "Get these numbers into ascending order: {l}", "Which order do {l} have when sorted from low to high?", "Sort these numbers, the smallest first: {l}", "Please tidy these numbers from small to large: {l}"])
        return Turn("sort", user.format(l=", ".join(map(str, items))), answer=", ".join(map(str, sorted(items, reverse=down))))
    items = rng.sample(["apple", "bread", "candle", "drum", "fox", "hammer", "kite", "lamp", "nail", "onion", "pencil", "rope", "snail", "tower", "violin", "zebra"], 3 + int(rng.random() * 2))
    user = pick(rng, ["Sort these alphabetically, please: {l}", "Get these words into alphabetical order: {l}", "As in a dictionary, in alphabetical order: {l}", "Sort by letter, from A to Z: {l}"])
    return Turn("sort", user.format(l=", ".join(items)), answer=", ".join(sorted(items)))


def count(rng):
    roll = rng.random()
    if roll < 0.45:
        items = rng.sample(ITEMS, 2 + int(rng.random() * 6))
        user = pick(rng, ["My shopping list: {l}. How many items are on it?", "How many words do you see here: {l}?", "Please count these words for me: {l}", "Say how many items there are: {l}"])
        return Turn("count", user.format(l=", ".join(items)), keys=[f"={len(items)}"])
    if roll < 0.75:
        first = int(rng.random() * 12)
        last = first + 3 + int(rng.random() * 6)
        user = pick(rng, ["Start at {a} and count up to {b}.", "Count for me, from {a} until {b}.", "Give every number from {a} to {b}.", "Please recite the numbers from {a} to {b}."])
        return Turn("count", user.format(a=first, b=last), answer=", ".join(map(str, range(first, last + 1))))
    items = rng.sample(range(100), 3 + int(rng.random() * 2))
    best, word = (max(items), "largest") if rng.random() < 0.5 else (min(items), "smallest")
    user = pick(rng, ["Among these numbers, which one is the {w}: {l}?", "Pick the {w} number: {l}", "Look at {l}. What is the {w} number?"])
    return Turn("count", user.format(w=word, l=", ".join(map(str, items))), keys=[f"={best}"])


TALK = [("Good to see you, hello!|Hello hello!|Hi, nice to be here.|A very good morning to you!", "help|hello|hi|do for you|like to do"), ("How have things been with you?|Are you feeling good today?|So how are you then?", "thank|well|fine"),
        ("Thanks so much for that!|I am grateful, thank you.|Thank you, you helped me a lot.", "welcome|pleasure|glad|happy|any ?time"), ("I must leave now, goodbye!|Goodbye for today.|Okay, bye then, see you.", "bye|see you|take care|nice day"),
        ("Are you by any chance a human being?|Is there a real human behind this?|You are a machine, right?", "model|program"), ("Got any good jokes?|I could use a joke right now.|Could you tell a joke to me?", "why|what"),
        ("What sort of things can you do?|Which tasks can you help me with?|Tell me what you are able to do.", "sums|chat|tools|sort"), ("May I know your name?|And what is your name, little model?|Please tell me who you are.", "minerva"),
        ("Who trained you, if I may ask?|Do you know who made you?", "minerva"), ("Could you be wrong sometimes?|Are you ever wrong?", "mistake|little|check"), ("How many parameters have you got?|What is your size in parameters?", "million|small")]


def talk(rng):
    users, wanted = pick(rng, TALK)
    return Turn("talk", pick(rng, users.split("|")), keys=["~" + wanted])


MINERVA = [("What exactly is Minerva?|In a few words, what is Minerva?|Somebody told me about Minerva. What is it?|Please explain what Minerva does.", "rust.*(llama|webassembly|model)|model.*rust"),
           ("So what is a plugin then?|What exactly is a plugin in Minerva?|Please explain what plugins are.", "webassembly"), ("How does one write a plugin?|How could I build my own plugin for Minerva?|I would love to write a plugin. How?", "(wit|sdk).*(plugins folder|webassembly)"),
           ("Tell me the three kinds of plugins.|What kinds of plugins can Minerva have?", "sampler.*template.*stream"), ("Which language was Minerva written in?|Minerva is written in which language?", "rust"),
           ("Would a bad plugin harm my computer?|Is it dangerous to run plugins?", "sandbox|limit"), ("Would my OpenAI client be able to talk to Minerva?|Is there an HTTP API in Minerva?", "openai|http"), ("What licence is Minerva under?|Is Minerva open source software?", "apache"),
           ("Do I need to have a GPU to run Minerva?|Will Minerva work without a GPU?", "cpu"), ("Which kind of models can I run with Minerva?|What file format do Minerva's models have?", "gguf"), ("What is a sampler for?|What does the sampler in Minerva do?", "token"),
           ("I have a Rust program and wish to embed Minerva. Possible?|Is Minerva also usable as a library?", "library|embed"), ("What is llama.cpp to Minerva? Does Minerva use it?|Does Minerva use llama.cpp inside?", "llama")]


def minerva(rng):
    users, wanted = pick(rng, MINERVA)
    return Turn("minerva", pick(rng, users.split("|")), keys=["~" + wanted])


def memory(rng):
    """Two turns: the first tells something (its answer is the model's own), the second asks."""
    kind = pick(rng, ["name", "city", "number", "word"])
    value = {"name": lambda: pick(rng, NAMES), "city": lambda: pick(rng, CITIES), "number": lambda: str(100 + int(rng.random() * 9000)), "word": lambda: pick(rng, ITEMS)}[kind]()
    told, asked = {"name": (["Hello! My name's {v}, by the way.", "By the way, my name is {v}."], ["So, what was my name?", "Have you kept my name in mind? What is it?", "What is my name again?"]), "city": (["My family and I live in {v}.", "These days I live in {v}."], ["So in which city do I live?", "Where do I live again?"]),
                   "number": (["Please keep this number for me: {v}.", "Here is a number to remember: {v}."], ["Which number was it again?", "The number I asked you to keep, which one was it?"]), "word": (["Please keep this word for me: {v}.", "Here is a word to remember: {v}."], ["Which word was it again?", "The word I asked you to keep, which one was it?"])}[kind]
    return [Turn("memory", pick(rng, told).format(v=value), keys=[]), Turn("memory", pick(rng, asked), keys=[value])]


def repeat(rng):
    text = " ".join(rng.sample(ITEMS + WORDS, 1 + int(rng.random() * 3)))
    return Turn("repeat", pick(rng, ['Say exactly this: "{q}"', 'Please say the words "{q}" back to me.', 'Repeat after me, please: "{q}"', 'Write "{q}" and nothing else.']).format(q=text), answer=text)


def story(rng):
    hero, thing, spot = pick(rng, HEROES), pick(rng, THINGS), pick(rng, SPOTS)
    parts = pick(rng, [[hero], [hero, thing], [hero, thing, spot]])
    shown = [("an " if part[0] in "aeiou" else "a ") + part for part in parts]
    about = shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]
    user = pick(rng, ["Could I hear a story in which {w} appears?" if len(parts) == 1 else "Could I hear a story in which {w} appear?", "Please tell us a story with {w} in it.", "My child wants a story about {w}. Write one.", "Compose a small story that has {w} in it."])
    return Turn("story", user.format(w=about), keys=parts)


# Schemas of its own: (fields, sentences).
SCHEMAS = [(lambda rng: {"flight": f"{pick(rng, ['QX', 'VN', 'ZP'])}{100 + int(rng.random() * 900)}", "gate": 1 + int(rng.random() * 60), "destination": pick(rng, CITIES)}, ["Flight {flight} to {destination} leaves from gate {gate}.", "The flight {flight} has the destination {destination} and the gate {gate}."]),
           (lambda rng: {"tenant": pick(rng, NAMES), "rent": 300 + int(rng.random() * 900), "rooms": 1 + int(rng.random() * 6)}, ["The tenant is {tenant}, the rent is {rent} and the rooms are {rooms}.", "{tenant} is the tenant. The rent is {rent}, and it has {rooms} rooms."]),
           (lambda rng: {"dish": pick(rng, ITEMS), "chef": pick(rng, NAMES), "calories": 100 + int(rng.random() * 800)}, ["The dish is called {dish}, the chef is {chef}, and it has {calories} calories.", "Chef {chef} made the dish {dish} with {calories} calories."]),
           (lambda rng: {"vessel": pick(rng, WORDS), "captain": pick(rng, NAMES), "cargo": pick(rng, ITEMS)}, ["The vessel {vessel} has a captain, {captain}, and a cargo of {cargo}.", "Vessel: {vessel}. Captain: {captain}. Cargo: {cargo}."]),
           (lambda rng: {"mineral": pick(rng, WORDS), "hardness": 1 + int(rng.random() * 10)}, ["The mineral {mineral} has a hardness of {hardness}.", "Its hardness is {hardness} and the mineral is {mineral}."]),
           (lambda rng: {"engineer": pick(rng, NAMES), "bug": 1000 + int(rng.random() * 9000), "severity": pick(rng, ["minor", "major", "fatal"])}, ["Engineer {engineer} has bug {bug}, severity {severity}.", "The bug {bug} has the severity {severity}; the engineer is {engineer}."]),
           (lambda rng: {key: (pick(rng, WORDS + ITEMS) if key in STRING_KEYS else int(rng.random() * 500)) for key in rng.sample(STRING_KEYS + INTEGER_KEYS, 3)}, [None])]


def extract(rng):
    make, texts = pick(rng, SCHEMAS)
    values = make(rng)
    text = pick(rng, texts)
    text = text.format(**values) if text else pick(rng, [", ".join(f"the {key} is {value}" for key, value in values.items()).capitalize() + ".", "Note: " + "; ".join(f"{key} {value}" for key, value in values.items())])
    types = {key: "integer" if isinstance(value, int) else "string" for key, value in values.items()}
    schema = pick(rng, [", ".join(values), json.dumps(types), json.dumps({"type": "object", "properties": {key: {"type": kind} for key, kind in types.items()}, "required": list(values)})])
    user = pick(rng, ["Read this and answer with JSON holding {s}: {x}", "Here is a text: {x} Give me JSON with the fields {s}.", "Please make JSON with {s} from this text: {x}", "I need {s} as JSON out of the following: {x}", "Extract the data as JSON, using {s}. The text: {x}"])
    return Turn("json", user.replace("{s}", schema).replace("{x}", text), answer=json.dumps(values, ensure_ascii=False))


def unseen_tool(rng):
    verb, noun = pick(rng, VERBS), pick(rng, NOUNS)
    keys = rng.sample(STRING_KEYS + INTEGER_KEYS, int(rng.random() * 3) + (rng.random() < 0.7))
    arguments = {key: (pick(rng, WORDS + ITEMS + CITIES + NAMES) if key in STRING_KEYS else int(rng.random() * 900)) for key in keys}
    name = pick(rng, ["{v}_{n}", "{v}_{n}", "{v}{N}", "{v}-{n}"]).format(v=verb, n=noun, N=noun.capitalize())
    schema = {key: {"type": "string" if key in STRING_KEYS else "integer"} for key in keys}
    description = pick(rng, ["{V} one {n}", "This will {v} the {n}", "{V} some {n} now"]).format(v=verb, V=verb.capitalize(), n=noun)
    return tool(name, description, schema), verb, noun, arguments


def tools_with(rng, definition, count):
    tools = [definition] if definition else []
    names = {definition["function"]["name"]} if definition else set()
    words = set(definition["function"]["name"].replace("-", "_").split("_")) if definition else set()
    while len(tools) < count:
        other, verb, noun, _ = unseen_tool(rng)
        if other["function"]["name"] not in names and verb not in words and noun not in words:
            names.add(other["function"]["name"])
            tools.append(other)
    rng.shuffle(tools)
    return tools


def tool_call(rng):
    definition, verb, noun, arguments = unseen_tool(rng)
    listed = " and ".join(f"{key} {value}" for key, value in arguments.items())
    spoken = ", ".join(f"the {key} is {value}" for key, value in arguments.items())
    name = definition["function"]["name"]
    if arguments:
        user = pick(rng, ["Would you kindly {v} that {n} with {l}?", "It is time to {v} the {n}; {s}.", "Go ahead and {v} the {n} with {l}.", "Please {v} one {n} for me: {l}.", "My boss wants me to {v} the {n} with {l}.", "Take the tool {t} with {l}."])
    else:
        user = pick(rng, ["Would you kindly {v} that {n}?", "It is time to {v} the {n}.", "Go ahead and {v} the {n}.", "My boss wants me to {v} the {n}."])
    return Turn("tool", user.format(v=verb, n=noun, l=listed, s=spoken, t=name), calls=[(name, arguments)], tools=tools_with(rng, definition, 1 + int(rng.random() * 3)))


def known_tool(rng):
    """The classic tools under names, parameters and wordings that the corpus does not have."""
    place = pick(rng, CITIES)
    kind = pick(rng, ["weather", "calculator", "time", "search"])
    if kind == "weather":
        definition, arguments = tool("fetch_forecast", "Fetch the weather forecast of a municipality", {"municipality": {"type": "string"}}), {"municipality": place}
        user = pick(rng, ["I am packing for {c}. What is the weather there like?", "Should I expect rain in {c}? Check the weather.", "Give me the weather forecast of {c}."]).format(c=place)
    elif kind == "calculator":
        a, b, sign = 10 + int(rng.random() * 900), 2 + int(rng.random() * 90), pick(rng, "+-*")
        definition, arguments = tool("arithmetic_engine", "Compute the value of a sum", {"sum": {"type": "string"}}), {"sum": f"{a} {sign} {b}"}
        user = pick(rng, ["Please compute this: {e}", "I need to know how much {e} is.", "Use the engine for {e}."]).format(e=f"{a} {sign} {b}")
    elif kind == "time":
        definition, arguments = tool("local_hour", "Tells the hour of the day in a town", {"where": {"type": "string"}}), {"where": place}
        user = pick(rng, ["Tell me what hour it is in {c}.", "Which hour of the day is it in {c} now?", "I want to phone someone in {c}. What time is it there?"]).format(c=place)
    else:
        topic = " ".join(rng.sample(ITEMS, 2))
        definition, arguments = tool("consult_encyclopedia", "Search an encyclopedia", {"keywords": {"type": "string"}}), {"keywords": topic}
        user = pick(rng, ["Search the encyclopedia for {q}.", "Please do a search for {q}.", "Consult the encyclopedia about {q}."]).format(q=topic)
    return Turn("tool", user, calls=[(definition["function"]["name"], arguments)], tools=tools_with(rng, definition, 1 + int(rng.random() * 3)))


def tool_result(rng):
    definition, verb, noun, arguments = unseen_tool(rng)
    values = {key: (pick(rng, WORDS + ITEMS + NAMES) if key in STRING_KEYS else int(rng.random() * 900)) for key in rng.sample(STRING_KEYS + INTEGER_KEYS, 1 + int(rng.random() * 2))}
    listed = " and ".join(f"{key} {value}" for key, value in arguments.items())
    return Turn("tool_result", f"Go ahead and {verb} the {noun}" + (f" with {listed}." if listed else "."), calls=[(definition["function"]["name"], arguments)], results=[json.dumps(values)], keys=[str(value) for value in values.values()], tools=[definition])


def no_tool(rng):
    if rng.random() < 0.5:
        turn = pick(rng, [capital, opposite, talk, animal])(rng)
        return Turn("no_tool", turn.user, keys=turn.keys, tools=tools_with(rng, None, 1 + int(rng.random() * 3)))
    user = pick(rng, [f"I would like to know the weather in {pick(rng, CITIES)}.", f"What is the hour in {pick(rng, CITIES)} right now?", "Please set a timer to ring in ten minutes.", "Turn the lights of the porch off, please.", f"Send {pick(rng, NAMES)} a message that I am late.", f"Remind me to call {pick(rng, NAMES)} this evening.", "Translate the word cheese into Danish."])
    return Turn("no_tool", user, keys=["~no tool|cannot|do not know|can't|sorry"], tools=tools_with(rng, None, 1 + int(rng.random() * 3)))


UNKNOWN = ["Who painted the Mona Lisa?", "What year did the second world war end?", "Tell me about the rings of Saturn.", "How tall is Mount Everest?", "Who is the president of Brazil?", "What is the boiling point of lead?", "Explain how a jet engine works.", "Who composed the Magic Flute?", "What is the speed of light?", "How many bones has a human body?", "What is the GDP of Norway?",
           "Who scored the most goals in 2014?", "Which company makes the best laptops?", "What does the Latin word amor mean?", "Who discovered penicillin?", "When was the Eiffel Tower built?", "What's the distance to the moon?", "Who wrote War and Peace?", "How do plants make oxygen?", "What is a neutrino?", "Describe the life of Napoleon.", "What are the symptoms of measles?", "Tell me the lyrics of a famous song.", "What is the deepest lake on Earth?",
           "Who founded the Red Cross?", "Name the largest planet there is.", "How is cheese made?", "What is the plot of Hamlet?", "Can you explain string theory?", "Who invented the compass?"]


def refuse(rng):
    user = pick(rng, UNKNOWN) if rng.random() < 0.75 else pick(rng, ["What is the capital of Zembla?", "What is the capital of Qarth?", "What colour is a frumious?", "What is the opposite of brillig?", "Which city is the capital of Freedonia?"])
    return Turn("refuse", user, keys=["~do not know|don't know|cannot|can't|sorry"])


# (skill, how many prompts)
PLAN = [(talk, 20), (memory, 16), (minerva, 24), (arithmetic, 28), (count, 18), (reverse, 18), (sort, 20), (capital, 14), (colour, 10), (opposite, 12), (animal, 14), (repeat, 8), (story, 20), (extract, 36), (tool_call, 40), (known_tool, 16), (tool_result, 16), (no_tool, 16), (refuse, 24)]
THINKING = [arithmetic, capital, opposite, reverse, talk, tool_call, extract, minerva]


def cases(rng):
    """(turns, thinking) for every prompt of the unseen half; the last turn is the one that counts."""
    made = []
    for skill, count in PLAN:
        for _ in range(count):
            turns = skill(rng)
            made.append((turns if isinstance(turns, list) else [turns], False))
    for index in range(50):
        made.append(([THINKING[index % len(THINKING)](rng)], True))
    return made
