"""Capitals, colours, opposites and animals; and saying that it does not know."""

from .grammar import ask, pick, pseudo_word, say
from .turns import Turn
from .words import (ANIMALS, CAPITALS, CITIES, COLOURS, FAMOUS, MORE_NOUNS, NAMES, OBJECTS, OPPOSITES, OTHER_COUNTRIES, SURNAMES, WORKS)


def _one_word(rng, user, word):
    """Now and then the user wants nothing but the word."""
    return user.rstrip(".?! ") + pick(rng, [". Answer in one word.", "? One word, please.", "? Just the word.", " (one word)", "? Answer with one word only.", ". Only the answer.", "? Be brief."]), word


def _finish(rng, skill, asks, answers, think, brief, **slots):
    user, answer = ask(rng, asks, **slots), say(rng, answers, **slots)
    if rng.random() < 0.08:
        user, answer = _one_word(rng, user, brief[:1].upper() + brief[1:])
    return [Turn(skill, user, answer, think, keys=[brief])]


def capital(rng):
    if rng.random() < 0.15:
        country = pick(rng, OTHER_COUNTRIES) if rng.random() < 0.3 else pseudo_word(rng, 2).capitalize() + pick(rng, ["", "", "ia", "land", "stan"])
        user = ask(rng, CAPITAL_ASKS, country=country)
        return [Turn("refuse", user, say(rng, ["I do not know the capital of {country}.", "Sorry, I do not know the capital of {country}."], country=country), f"The user asks for the capital of {country}. I do not know it.")]
    country, city = pick(rng, list(CAPITALS.items()))
    if rng.random() < 0.2:
        return _finish(rng, "capital", ["[which|what] country [is|has] {city} the capital of?", "{city} is the capital of [what|which country]?", "of which country is {city} the capital?", "[which|what] country has [the capital {city}|{city} as its capital]?", "in which country is {city}?", "where is {city}?", "which country is {city} in?", "what country does {city} belong to?"],
                       ["{city} is the capital of {country}."], f"{city} is the capital of {country}.", country, city=city, country=country)
    return _finish(rng, "capital", CAPITAL_ASKS, ["The capital of {country} is {city}.", "{city} is the capital of {country}."], f"The user asks for the capital of {country}. It is {city}.", city, city=city, country=country)


CAPITAL_ASKS = ["[what is|what's|which city is|tell me|name|say|give me|can you tell me|do you know|I need|I forgot|please tell me] the capital [city |]of {country}[?|.]", "capital of {country}?", "the capital of {country}?", "{country}: [what is the |]capital?", "what is {country}'s capital[| city]?", "which city is {country}'s capital?", "[which|what] city is the capital of {country}?",
                "[what capital|which capital] does {country} have?", "{country} has [which|what] capital?", "[tell me|name|say] {country}'s capital.", "what do you call the capital of {country}?", "the capital city of {country} is called what?", "if I go to {country}, what is the capital?", "what about {country}'s capital?", "[|my question is:] what is the main city of {country}, its capital?"]


def colour(rng):
    if rng.random() < 0.1:
        thing = pick(rng, ["a ", "the ", "my "]) + (pseudo_word(rng, 2) if rng.random() < 0.7 else pick(rng, OBJECTS))
        return [Turn("refuse", ask(rng, COLOUR_ASKS, thing=thing), say(rng, ["I do not know the colour of {thing}."], thing=thing.replace("my ", "your ")), f"The user asks for the colour of {thing}. I do not know it.")]
    thing, name = pick(rng, list(COLOURS.items()))
    shown = thing
    return _finish(rng, "colour", COLOUR_ASKS, ["{thing} is {name}.", "The colour of {thing} is {name}."], f"The user asks for the colour of {thing}. It is {name}.", name, thing=shown, name=name)


COLOUR_ASKS = ["[what|which] [colour|color] is {thing}?", "[what is|what's|tell me|name|say|do you know|give me] the [colour|color] of {thing}[?|.]", "[what|which] [colour|color] does {thing} have?", "{thing} [is|has] [what|which] [colour|color]?", "[colour|color] of {thing}?", "[can you|could you] [tell me|say] what [colour|color] {thing} is?", "{thing}: [what colour|which colour|colour]?", "tell me what [colour|color] {thing} is."]


def opposite(rng):
    if rng.random() < 0.08:
        word = pseudo_word(rng, 2)
        return [Turn("refuse", ask(rng, OPPOSITE_ASKS, word=word), say(rng, ["I do not know the opposite of {word}."], word=word), f"The user asks for the opposite of {word}. I do not know that word.")]
    word, other = pick(rng, list(OPPOSITES.items()))
    return _finish(rng, "opposite", OPPOSITE_ASKS, ["The opposite of {word} is {other}.", "{word} is the opposite of {other}."], f"The user asks for the opposite of {word}. It is {other}.", other, word=word if rng.random() < 0.8 else f'"{word}"', other=other)


OPPOSITE_ASKS = ["[what is|what's|tell me|name|say|give me|do you know|I need|can you tell me] the opposite of {word}[?|.]", "opposite of {word}?", "the opposite of {word}?", "what is the [reverse|contrary|antonym] of {word}?", "what word means the opposite of {word}?", "which word is the opposite of {word}?", "[what|which] is the antonym of {word}?",
                 "{word} is the opposite of [what|which word]?", "if it is not {word}, what is it?", "not {word} but...?", "give the [antonym|opposite] of {word}.", "the [antonym|contrary] of {word} is what?", "what is not {word}?", "find the opposite of {word}."]


def animal(rng):
    name, facts = pick(rng, list(ANIMALS.items()))
    the = ("an " if name[0] in "aeiou" else "a ") + name
    kind = pick(rng, ["sound", "young", "legs", "food", "home"])
    value = facts[kind]
    slots = dict(the=the, name=name, value=value)
    if kind == "sound":
        if rng.random() < 0.15 and value in UNIQUE_SOUNDS:
            return _finish(rng, "animal", ["[which|what] animal {value}?", "[name|tell me] an animal that {value}.", "who {value}?"], ["A {name} {value}." if name[0] not in "aeiou" else "An {name} {value}."], f"The animal that {value} is the {name}.", name, **slots)
        return _finish(rng, "animal", ["[what|which] [sound|noise] does {the} make?", "what does {the} say?", "[tell me|what is] the [sound|noise] of {the}[?|.]", "how does {the} sound?", "what [sound|noise] do you hear from {the}?", "{the} makes [what|which] [sound|noise]?", "[sound|noise] of {the}?"], ["{the} {value}."], f"{the} {value}.", value, **slots)
    if kind == "young":
        article = "an " if value[0] in "aeiou" else "a "
        return _finish(rng, "animal", ["what is [the young of|a baby of|a young one of] {the} called?", "what is a [baby|young] {name} called?", "what do you call a [baby|young] {name}?", "[what is|tell me|name] the [name|word] [of|for] a [baby|young] {name}[?|.]", "how do you call the [baby|young] of {the}?", "a [baby|young] {name} is called what?", "the [baby|young] of {the}?"], ["A young {name} is called {article}{value}."], f"A young {name} is {article}{value}.", value, article=article, **slots)
    if kind == "legs":
        return _finish(rng, "animal", ["how many legs does {the} have?", "how many legs has {the}?", "[tell me|what is|say] the number of legs of {the}[?|.]", "count the legs of {the}.", "{the} has how many legs?", "number of legs of {the}?", "on how many legs does {the} walk?"], ["{the} has {value} legs."], f"{the} has {value} legs.", value, **slots)
    if kind == "food":
        return _finish(rng, "animal", ["what does {the} eat?", "what [food|kind of food] does {the} [eat|like]?", "[what is|tell me] the food of {the}[?|.]", "what should I feed {the}?", "what do you feed {the}?", "{the} eats what?", "[tell me|say] what {the} eats.", "food of {the}?"], ["{the} eats {value}."], f"{the} eats {value}.", value, **slots)
    return _finish(rng, "animal", ["where does {the} live?", "what is the home of {the}?", "where [is|do you find|can I find] {the}?", "in what place does {the} live?", "{the} lives where?", "[tell me|say] where {the} lives.", "home of {the}?"], ["{the} lives in {value}."], f"{the} lives in {value}.", value, **slots)


def several(rng):
    """A few facts of one kind in one answer: much to learn from few words."""
    what, table = pick(rng, [("capital", CAPITALS), ("capital", CAPITALS), ("opposite", OPPOSITES), ("opposite", OPPOSITES), ("colour", COLOURS), ("young", {name: facts["young"] for name, facts in ANIMALS.items()}),
                             ("sound", {name: facts["sound"] for name, facts in ANIMALS.items()}), ("food", {name: facts["food"] for name, facts in ANIMALS.items()}), ("home", {name: facts["home"] for name, facts in ANIMALS.items()}), ("number of legs", {name: facts["legs"] for name, facts in ANIMALS.items()})])
    things = rng.sample(sorted(table), pick(rng, [2, 3, 4, 5, 6]))
    listed = ", ".join(things) if rng.random() < 0.5 else ", ".join(things[:-1]) + " and " + things[-1]
    user = ask(rng, ["[what are|tell me|name|give me|list|say|I need|write down] the {w}s of {l}[?|.]", "the {w}s of {l}?", "{l}: [what are the|their|the] {w}s?", "[what is|tell me|name] the {w} of each: {l}", "{w}s: {l}", "[quiz|test|game]: the {w} of {l}"], w=what, l=listed).replace("number of legss", "numbers of legs")
    answer = ", ".join(f"{thing}: {table[thing]}" for thing in things)
    return [Turn(what if what in ("capital", "opposite", "colour") else "animal", user, answer + ".", f"The user asks for several {what}s. I name them one by one.", keys=[table[thing] for thing in things])]


_sounds = [facts["sound"] for facts in ANIMALS.values()]
UNIQUE_SOUNDS = {sound for sound in _sounds if _sounds.count(sound) == 1}

UNKNOWN_TOPICS = """quantum physics,the stock market,black holes,the French revolution,photosynthesis,the Roman empire,tax law,jazz,chess openings,the human heart,DNA,volcanoes,democracy,
inflation,the theory of relativity,football rules,vaccines,plate tectonics,cryptography,Buddhism,the Cold War,machine translation,nuclear power,modern art,the moon landing,dinosaurs,
the periodic table,gravity,poetry,economics,philosophy,astronomy,medicine,surgery,yoga,wine,sailing,knitting,the opera,ballet,baseball,cricket,car engines,airplanes,satellites,bacteria,viruses,
proteins,atoms,electricity,magnetism,optics,geometry,calculus,statistics,logic,linguistics,Latin grammar,Greek myths,the Vikings,the pyramids,the Great Wall,samurai,pirates,the Titanic,the internet,
blockchain,bitcoin,insurance,mortgages,elections,the United Nations,climate change,ozone,earthquakes,hurricanes,glaciers,coral reefs,rainforests,evolution,genetics,psychology,dreams""".replace("\n", "").split(",")
UNKNOWN_THINGS = """telephone,steam engine,light bulb,airplane,bicycle,printing press,television,transistor,microscope,telescope,radio,zipper,battery,camera,parachute,dynamite,helicopter,rocket,laser,vaccine""".split(",")
UNKNOWN_ASKS = [
    "who [invented|discovered|made|designed|built] the {thing}?", "who [wrote|painted|composed|built|designed|made|founded|owns|discovered|directed|started] {work}?", "when [was|did] {work} [made|built|written|start|end|happen]?", "where is {work}?", "what is {work}[| made of| about]?", "how [old|big|tall|far|hot|deep|heavy|long|fast] is {work}?", "how many [people|bones|stars|islands|teeth|pages|goals|rooms|chapters] [has|are in|does] {work}[| have]?", "[explain|describe|tell me about] {work}[.|]", "why is {work} [famous|important|so big]?", "what [year|century] was {work} [made|built|discovered]?", "what is the [history|origin|size|age|mass|boiling point|formula|symbol|colour code|price] of {work}?", "[what|which] [company|person|team|planet|river|ocean|mountain|animal|metal|singer|country] is the [largest|oldest|fastest|best|richest|smallest|deepest|tallest]?", "[tell me|describe|summarise] the [life|work|story|ideas|death] of {person}.", "what is the [distance|difference] [to|between] {work}[| and {topic}]?", "what is a {noun} [made of|good for|worth]?", "how is [a {noun}|{work}] made?", "who is the [president|king|mayor|queen|leader|owner|head] of {work}?", "can you explain {work}?", "how do [birds|plants|engines|planes|batteries|computers|fish|magnets] [work|fly|grow|breathe]?", "what are the [symptoms|causes|effects|parts|rules|types] of {work}?", "what is the [population|currency|language|flag|economy|GDP] of {country}?", "[recite|sing|play|show me] [a poem|the lyrics|a song|a film] [by|of] {person}.", "when was the {thing} [invented|discovered|made|built]?", "[explain|describe] {topic}[| to me| in detail| briefly].", "how does {topic} work?", "what is {topic}?", "what do you [know|think] about {topic}?", "[tell me|teach me] [about|all about|something about] {topic}.",
    "why is {topic} important?", "who is {person}?", "who was {person}?", "when was {person} born?", "where does {person} live?", "how old is {person}?", "what did {person} [do|write|say|invent|win]?", "is {person} [famous|alive|married|rich]?",
    "who won the [world cup|election|race|game|match|final|championship|prize|tournament] [in {year}|last year|yesterday|on Sunday]?", "what happened in {year}?", "who was [king|queen|president|prime minister|pope|emperor] in {year}?", "how many people live in {city}?", "what is the [population|area|mayor|history|height] of {city}?", "how [high|deep|long|old|far] is the [highest mountain|deepest sea|longest river|oldest tree|nearest star]?",
    "what is the [latest|best|newest] [news|phone|film|book|song|car|laptop]?", "who wrote [that book|the bible|hamlet|the song|the {thing} book|{title}]?", "what is the [meaning|plot|ending|author|price] of {title}?", "translate {title} into [french|german|latin|spanish|japanese].", "how do I [repair|fix|buy|build|cook|install] a [car|house|computer|pizza|bridge|boat|phone]?",
    "what is the [price|value|cost] of [gold|oil|bitcoin|milk|a house|a share]?", "what will [happen|the weather be|the price be] [tomorrow|next year|next week|in {year}]?", "[what is|tell me] [the square root|the logarithm|the sine|the cube|the factorial] of {number}[?|.]", "which [film|book|song|team|star|stock|horse] [is best|will win|should I buy|do you like most]?", "what does the word {word} mean?", "[define|what is] a {word}[?|.]", "what is {word}?", "who is {word}?",
    "[should I|can I|is it good to] [take this medicine|invest my money|sue my neighbour|eat this mushroom|quit my job|see a doctor]?", "what is [wrong with my|the best] [car|back|tooth|computer|leg]?", "when does the [next train|bus|shop|film|game|plane] [leave|open|start|arrive]?", "what [is the time|time is it|day is it today|is the date today]?", "[what is|how is] the weather [today|now|in {city}|outside]?", "where [am I|is my phone|are my keys|is the nearest shop]?", "[book|order|buy|reserve] me a [flight|pizza|taxi|hotel|ticket] to {city}.", "call {person}.", "play some [music|jazz|rock].", "what is [my balance|my password|my age|the score]?", "show me a picture of {city}."]
LOOK_UP = ("what is the weather", "how is the weather", "weather", "what time", "time is it", "the date", "next train")
UNKNOWN_ANSWERS = ["Sorry, I do not know that.", "I do not know that. I am only a very small model.", "Sorry, I do not know. I am a tiny model."]
CANNOT_ANSWERS = ["Sorry, I cannot do that.", "I cannot do that. I am only a very small model."]


def unknown(rng):
    person = pick(rng, NAMES) + " " + (pick(rng, SURNAMES) if rng.random() < 0.6 else pseudo_word(rng, 2).capitalize())
    if rng.random() < 0.4:
        person = pick(rng, FAMOUS)
    title = '"' + " ".join(["The", pick(rng, ["Last", "Red", "Lost", "Long", "Silent", "Golden"]), pick(rng, ["Night", "River", "King", "House", "Garden", "Road"])]) + '"'
    pattern = pick(rng, UNKNOWN_ASKS)
    user = ask(rng, [pattern], thing=pick(rng, UNKNOWN_THINGS) if rng.random() < 0.7 else pseudo_word(rng, 2), topic=pick(rng, UNKNOWN_TOPICS) if rng.random() < 0.8 else pseudo_word(rng, 2), person=person, year=1200 + int(rng.random() * 850), city=pick(rng, CITIES), title=title,
               number=int(rng.random() * 1000), work=pick(rng, WORKS) if rng.random() < 0.8 else "the " + pick(rng, MORE_NOUNS), noun=pick(rng, MORE_NOUNS), country=pick(rng, list(CAPITALS)), word=pseudo_word(rng, pick(rng, [1, 2, 2, 3])))
    cannot = pattern.startswith(("[book", "call", "play", "show me"))
    return [Turn("refuse", user, say(rng, CANNOT_ANSWERS if cannot else UNKNOWN_ANSWERS), "I have no tool for this, so I cannot do it." if cannot else "The user asks about something that I do not know. I say so.")]
