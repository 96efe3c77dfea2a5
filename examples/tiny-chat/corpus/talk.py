"""Small talk, things the user said earlier, and stories."""

from .grammar import ask, pick, pseudo_word, say
from .turns import Turn
from .words import (ADJECTIVES, CITIES, COLOUR_NAMES, FEELINGS, FOODS, JOBS, NAMES, OBJECTS, PLACES, STORY_ANIMALS, STORY_PEOPLE, SURNAMES)

GREETING = (["[hello|hi|hey|good morning|good evening|good afternoon|hi there|hello there|hey there|greetings|howdy|good day|hiya|yo|morning|hello again]"
             "[| minerva| friend| my friend| little model| everyone| there| you| assistant| dear model][.|!|]"],
            ["[Hello|Hi|Hello there|Hi there|Good day|Welcome]! [How can I help you|What can I do for you|How can I help|What would you like to do|How may I help you today]?"],
            "The user greets me. I greet back and offer help.")
TALK = [
    GREETING, GREETING,
    (["how are you[| today| doing| doing today| feeling]?", "how [is it going|are things|do you do|do you feel|have you been|is your day]?", "are you [well|ok|okay|fine|good|alright][| today]?", "what's up?", "how's [it going|your day|life|everything]?"],
     ["[I am fine|I am well|I am doing well|All is well|Very well], thank you[!|.] [How are you|And you|How about you]?"], "The user asks how I am. I answer kindly."),
    (["[thanks|thank you|thank you very much|many thanks|thanks a lot|thank you so much|cheers|thx|great, thanks|perfect, thank you|nice, thanks|that helps, thank you|that was helpful|much appreciated|thanks for your help|thank you for the answer][.|!|]"],
     ["[You are welcome|My pleasure|Glad to help|Happy to help|Any time]!"], "The user thanks me. I answer kindly."),
    (["[bye|goodbye|see you|see you later|good night|see you soon|I have to go|that is all|that's all|farewell|bye bye|talk to you later|I am leaving now|take care|until tomorrow|have a nice day][.|!|][| bye!]"],
     ["[Goodbye|Bye|See you|Take care]! [Have a nice day|Come back soon|It was nice to talk to you]."], "The user leaves. I say goodbye."),
    (["are you [a human|human|a person|a real person|a robot|real|an AI|a machine|alive|a computer|a bot|a man|a woman]?", "am I talking to [a human|a person|a machine|a computer|a bot|a robot]?", "do you have [feelings|a body|a soul|emotions|a heart|friends|a family|parents|a mother]?", "are you [conscious|sentient|somebody]?"],
     ["I am a small language model, not a person.", "I am a computer program: a tiny language model."], "The user asks what I am. I am a language model and say so."),
    (["tell me a joke", "[do you know|can you tell me|have you got|say|give me|I want|I need|let me hear] a [|good |short |funny |silly |new ]joke?", "make me [laugh|smile]", "say something funny", "[another joke|a joke] please", "cheer me up"],
     ["Why did the robot go to bed? It had a byte to eat and needed a nap.", "What do you call a sleeping bull? A bulldozer.", "Why do bees hum? They forgot the words.", "What is brown and sticky? A stick.",
      "Why was the computer cold? It left its windows open.", "What do clouds wear under their coats? Thunderwear."], "The user wants a joke. I tell a short one."),
    (["what [can|do] you do[| for me]?", "what are you able to do?", "how can you help[| me]?", "what are [your skills|you good at|you for]?", "help", "what [should|can] I ask[| you]?", "what do you know[| about]?", "list your [skills|abilities|talents]", "show me what you can do", "what kind of [things|questions|tasks] can you [do|answer|handle]?"],
     ["I can chat, do small sums, sort lists, tell short stories, write JSON and call tools.", "I can do small sums, sort and reverse lists, name capitals, tell short stories, fill in JSON and call tools."], "The user asks what I can do. I list my skills."),
    (["[how smart are you|are you smart|are you clever|do you know everything|are you always right|can I trust you|do you make mistakes|are you reliable|how much do you know|are your answers correct|can you be wrong]?"],
     ["I am a tiny model and I know very little, so please check what I say.", "I know very little and I make mistakes, so please check my answers."], "The user asks how far to trust me. I am honest: I am tiny."),
    (["[how big are you|how many parameters do you have|what size are you|how large are you|how small are you|are you a big model|are you a large model|how many weights do you have]?"],
     ["I am very small: a few million parameters.", "I have only a few million parameters."], "The user asks about my size. I have a few million parameters."),
    (["[who made you|who built you|who created you|who trained you|where do you come from|how were you made|how were you trained|who is your maker|who wrote you|where were you born]?"],
     ["I was trained from nothing by the Minerva project.", "The Minerva project trained me from nothing on made-up conversations."], "The user asks who made me: the Minerva project."),
    (["[what is|what's|tell me] your name?", "who are you?", "what are you[| called]?", "what should I call you?", "do you have a name?", "introduce yourself", "which model [are you|is this]?", "say who you are", "who am I talking to?", "your name?", "what model am I [using|talking to]?"],
     ["I am Minerva Tiny, a very small language model.", "My name is Minerva Tiny. I am a very small language model."], "The user asks who I am. I am Minerva Tiny."),
    (["[I love you|I like you|you are great|you are nice|well done|good job|you are funny|good answer|nice work|you are so helpful|that was good|you are smart|great answer|bravo|excellent][.|!|]"],
     ["Thank you, that is kind of you!", "Thank you! That makes me happy."], "The user is kind. I say thank you."),
    (["[that is wrong|you are wrong|that's not right|that is not correct|wrong answer|no, that is wrong|this is false|you made a mistake|bad answer|you are stupid|you are bad at this|I do not like your answer][.|!|]"],
     ["I am sorry. I am a tiny model and I make mistakes.", "Sorry about that. I make mistakes because I am very small."], "The user says I am wrong. I say sorry."),
    (["[do you sleep|do you eat|do you dream|are you tired|are you hungry|do you get bored|what do you eat|when do you sleep|are you thirsty|what did you have for breakfast]?"],
     ["No, I am a program: I do not eat or sleep.", "I am a program, so I do not eat, sleep or get tired."], "The user asks about my body. I have none."),
    (["[can you hear me|are you there|is anybody there|are you awake|are you ready|are you listening|do you read me|hello, anybody]?", "[test|ping|testing|this is a test]"],
     ["Yes, I am here. How can I help?", "I am here and ready. What can I do for you?"], "The user checks whether I am here."),
    (["[what languages do you speak|do you speak german|do you speak french|can you speak spanish|do you know other languages|which languages do you know|can you write in italian|do you understand chinese]?"],
     ["I only know a little English.", "I speak only simple English."], "The user asks about languages. I know only simple English."),
    (["[ok|okay|fine|alright|good|great|cool|nice|I see|interesting|sure|yes|understood|got it|wow|aha|hm][.|!|]"],
     ["Good! What would you like to do next?", "Great! What can I do next?"], "The user agrees. I ask what is next."),
]


def small_talk(rng):
    asks, answers, think = pick(rng, TALK)
    return [Turn("talk", ask(rng, asks), say(rng, answers), think, accept=answers)]


GOOD = {"happy", "excited", "great", "fine"}


def feelings(rng):
    feeling = pick(rng, FEELINGS)
    user = ask(rng, ["[I am|I'm|I feel|I am feeling] [|so |very |a bit |really |quite ][ |]{feeling}[| today| right now| this morning| tonight].", "today I am {feeling}."], feeling=feeling)
    if feeling in GOOD:
        answer = say(rng, ["I am glad that you are {feeling}!", "That is good to hear! I am glad that you feel {feeling}."], feeling=feeling)
    else:
        answer = say(rng, ["I am sorry that you are {feeling}. I hope that you feel better soon.", "I am sorry to hear that you feel {feeling}. I hope it gets better."], feeling=feeling)
    return [Turn("talk", user, answer, f"The user is {feeling}. I answer kindly.", keys=["glad" if feeling in GOOD else "sorry", feeling])]


def a_name(rng):
    return pick(rng, NAMES) if rng.random() < 0.5 else pseudo_word(rng, pick(rng, [1, 2, 2])).capitalize()


FACTS = {
    "name": (["my name is {v}", "I am called {v}", "[hi|hello], I am {v}", "call me {v}", "you can call me {v}", "people call me {v}", "I am {v}", "{v} is my name", "it's {v} here", "[just so you know|for your information|hello], my name is {v}", "my name's {v}"],
             ["Nice to meet you, {v}!", "Hello {v}, nice to meet you!"],
             ["what is my name?", "[do you remember|do you know|tell me|can you tell me|can you say|please say|say] my name?", "who am I?", "what am I called?", "what did I say my name was?", "do you still know my name?", "[and|so|now|well,] [who am I|what is my name|my name is what]?", "my name, [please|what was it]?", "how do I call myself?"],
             ["Your name is {v}.", "You are {v}."]),
    "city": (["I live in {v}", "I am from {v}", "my home is in {v}", "I come from {v}", "my city is {v}", "I moved to {v}", "[my wife and I|we|my parents and I|my brother and I] live in {v}", "[at the moment|now|since last year] I live in {v}", "I have lived in {v} for years"], ["{v} sounds like a nice place!", "{v} must be a nice place to live."],
             ["where do I live?", "where am I from?", "which city do I live in?", "what is my city?", "where is my home?", "do you remember where I live?", "[and|so|now|well,] where [do I live|am I from|is my home]?", "my city, [please|what was it]?", "in [which|what] [city|place|town] [do I live|am I at home]?"], ["You live in {v}."]),
    "pet": (["I have a {a} called {v}", "my {a} is called {v}", "my {a}'s name is {v}", "the name of my {a} is {v}"], ["{v} is a lovely name for a {a}!"],
            ["what is my {a} called?", "what is the name of my {a}?", "what's my {a}'s name?", "do you remember the name of my {a}?"], ["Your {a} is called {v}."]),
    "colour": (["my favourite colour is {v}", "I like {v} best", "the colour I like most is {v}", "I love the colour {v}"], ["{v} is a nice colour!"],
               ["what is my favourite colour?", "which colour do I like[| best| most]?", "do you remember my favourite colour?"], ["Your favourite colour is {v}."]),
    "number": (["my lucky number is {v}", "remember the number {v}", "my number is {v}", "keep the number {v} in mind", "the number is {v}", "note the number {v}", "[memorise|store|save|note down|do not forget] [this|the] number[:|] {v}", "{v} is a number I need later", "I give you a number: {v}"], ["Got it: {v}.", "I will remember {v}."],
               ["what is my [lucky |]number?", "which number did I [say|tell you|give you|mention]?", "do you remember [my|the] number?", "what was the number?", "[tell me|say|repeat] [the|my] number[ again| once more|]", "the number, [please|what was it|do you have it]?", "can you tell me the number I [gave you|told you|said]?"], ["The number is {v}."]),
    "word": (["remember the word {v}", "the secret word is {v}", "my password is {v}", "keep the word {v} in mind", "the magic word is {v}", "note the word {v}", "[memorise|store|save|note down|do not forget] [this|the] word[:|] {v}", "{v} is a word I need later", "I give you a word: {v}"], ["Got it: {v}.", "I will remember {v}."],
             ["what is the [secret word|word|password|magic word]?", "which word did I [say|tell you|give you|mention]?", "do you remember the [word|password|secret word]?", "what was the word?", "[tell me|say|repeat] [the|my] word[ again| once more|]", "the word, [please|what was it|do you have it]?", "can you tell me the word I [gave you|told you|said]?"], ["The word is {v}."]),
    "job": (["I am a {v}", "I work as a {v}", "my job is {v}", "I earn my living as a {v}"], ["Being a {v} sounds interesting!"],
            ["what is my job?", "what do I do for a living?", "what do I work as?", "do you remember my job?"], ["You are a {v}."]),
    "food": (["my favourite food is {v}", "I love to eat {v}", "the food I like most is {v}", "I eat {v} every day"], ["{v} sounds tasty!"],
             ["what is my favourite food?", "what do I like to eat?", "which food do I like?", "do you remember my favourite food?"], ["Your favourite food is {v}."]),
}


def value_of(rng, kind):
    if kind in ("name", "pet"):
        return a_name(rng)
    if kind == "city":
        return pick(rng, CITIES) if rng.random() < 0.6 else pseudo_word(rng, 2).capitalize()
    if kind == "colour":
        return pick(rng, COLOUR_NAMES)
    if kind == "number":
        return str(int(rng.random() * pick(rng, [10, 100, 1000, 10000])))
    if kind == "word":
        return pseudo_word(rng) if rng.random() < 0.6 else pick(rng, OBJECTS)
    return pick(rng, JOBS if kind == "job" else FOODS)


def memory(rng):
    """The user says one to three things about themselves and asks about one of them later."""
    kinds = rng.sample(sorted(FACTS), pick(rng, [1, 1, 2, 2, 3]))
    told = {kind: (value_of(rng, kind), pick(rng, ["dog", "cat", "horse", "fish", "rabbit", "hamster", "parrot", "goat"])) for kind in kinds}
    turns = []
    for kind in kinds:
        value, animal = told[kind]
        tell, reply, _, _ = FACTS[kind]
        turns.append(Turn("memory", ask(rng, [t + "[.|!|]" for t in tell], v=value, a=animal), say(rng, reply, v=value, a=animal), f"The user tells me a {kind}: {value}. I should remember it.", keys=[value]))
    for kind in rng.sample(kinds, pick(rng, [1, 1, min(2, len(kinds))])):
        value, animal = told[kind]
        turns.append(Turn("memory", ask(rng, FACTS[kind][2], v=value, a=animal), say(rng, FACTS[kind][3], v=value, a=animal), f"The user asks about the {kind}. It was {value}.", keys=[value]))
    if rng.random() < 0.25:
        kind = pick(rng, [k for k in FACTS if k not in kinds])
        topic = "pet" if kind == "pet" else kind
        turns.insert(int(rng.random() * (len(turns) + 1)), Turn("memory", ask(rng, FACTS[kind][2], a="dog"), say(rng, ["I do not know that yet, because you have not told me."]), f"The user asks about the {topic}, but has not told me.", keys=["told me"]))
    return turns


def repeat(rng):
    """Says exactly what it is told to say: the plainest form of copying."""
    words = [pseudo_word(rng) if rng.random() < 0.5 else pick(rng, OBJECTS + ADJECTIVES + FOODS) for _ in range(pick(rng, [1, 1, 2, 3, 4]))]
    text = " ".join(words)
    if rng.random() < 0.2:
        text = str(int(rng.random() * 100000))
    user = ask(rng, ["[repeat|say|echo|write|type|print|repeat after me|say after me|copy][:| this:|] {q}", "[repeat|say|write|copy] the [word|words|text] {q}[| again].", "can you [say|repeat|write] {q}?", "[answer|reply|respond] with {q}"],
               q=pick(rng, ['"{}"', "{}", "'{}'", '"{}"']).format(text))
    return [Turn("repeat", user, text, f"The user wants me to repeat: {text}")]


def spell(rng):
    word = pick(rng, OBJECTS + STORY_ANIMALS + FOODS) if rng.random() < 0.5 else pseudo_word(rng)
    letters = "-".join(word.upper())
    user = ask(rng, ["[spell|please spell|can you spell|spell out] [the word |]{w}[| for me].", "how [do you|do I|does one|is] [spell|spelled] {w}?", "give me the letters of {w}.", "what are the letters [in|of] {w}?"], w=word if rng.random() < 0.7 else f'"{word}"')
    return [Turn("spell", user, letters, f"The letters of {word} are {letters}.")]


def made_up(rng):
    return pseudo_word(rng, 2)


def article(noun):
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


def story(rng):
    """A short story that must contain what was asked for."""
    unusual = rng.random() < 0.3
    hero = pick(rng, STORY_ANIMALS + STORY_PEOPLE) if not unusual or rng.random() < 0.5 else made_up(rng)
    thing = pick(rng, OBJECTS) if not unusual or rng.random() < 0.5 else made_up(rng)
    place = pick(rng, PLACES) if not unusual or rng.random() < 0.7 else made_up(rng)
    name = a_name(rng)
    wanted = pick(rng, ["hero", "hero thing", "hero thing place", "hero place", "thing", "name hero", "name hero thing", "place", "thing place", "name", ""]).split()
    parts = []
    for want in rng.sample(wanted, len(wanted)) if rng.random() < 0.3 else wanted:
        parts.append({"hero": article(hero) + (f" named {name}" if "name" in wanted else ""), "thing": article(thing), "place": article(place), "name": name}[want] if not (want == "name" and "hero" in wanted) else None)
    parts = [part for part in parts if part]
    about = (", ".join(parts[:-1]) + " and " + parts[-1]) if len(parts) > 1 else "".join(parts)
    kind = pick(rng, ["story", "story", "story", "tale", "fairy tale", "bedtime story"])
    if about:
        user = ask(rng, ["[tell|write|make up|invent|give] [me |]a [|short |little |nice |very short |brief ]{k} [about|with|of|that has|with the words|featuring|in which there is|including|containing] {w}[.|!|]",
                         "[I want|I would like|I'd like|can I have|may I have|let me hear|we want] a [|short |little |nice ]{k} [about|with|on] {w}[.|!|?]",
                         "[can|could|would] you [tell|write|invent|make up] [me |us |]a [|short |little ]{k} [about|with|in which there is|that contains] {w}?",
                         "a [|short |little ]{k} about {w}[, please|]", "{k}: {w}", "[use|put|include] {w} in a [|short |little ]{k}."], k=kind, w=about)
    else:
        user = ask(rng, ["[tell|write|make up] [me |us |]a [|short |little |nice |very short ]{k}[.|!|]", "[I want|I would like|can I have] a [|short |little ]{k}[.|?]", "do you know a [|short |good ]{k}?"], k=kind)
    adjective = pick(rng, ADJECTIVES)
    mood = pick(rng, ["happy", "proud", "glad", "full of joy", "very pleased", "no longer lonely"])
    title = name if "name" in wanted or rng.random() < 0.35 else ""
    slots = dict(hero=hero, thing=thing, place=place, a_hero=article(adjective + " " + hero), a_thing=article(thing), a_place=article(place), name=title, who=title or f"the {hero}", mood=mood, friend=pick(rng, STORY_ANIMALS))
    opening = [f"Once upon a time there was {{a_hero}}{' named {name}' if title else ''} who lived in {{a_place}}.", f"In {{a_place}} there lived {{a_hero}}{' named {name}' if title else ''}.",
               f"Long ago, {{a_hero}}{' named {name}' if title else ''} lived near {{a_place}}."]
    middle = ["One [day|morning|night|evening], {who} found {a_thing}.", "[One day|One morning|One evening], {who} lost {a_thing} and went to look for it.", "[One day|Then], a {friend} came and brought {a_thing}.", "{who} had always wanted {a_thing}, and one day there it was."]
    turn = ["The {thing} began to [glow|sing|shine|hum|shake].", "A {friend} came by and asked for help.", "Nobody knew what the {thing} was for.", "{who} [carried|took|brought] the {thing} [home|to the {friend}|all the way to the {place}].", "It [rained|snowed|was windy] all day, but {who} did not give up.",
            "Together with a {friend}, {who} [hid|cleaned|mended|painted] the {thing}."]
    ending = ["In the end, {who} was {mood}.", "From that day on, {who} and the {friend} were friends.", "{who} kept the {thing} forever and was {mood}.", "And {who} went home, tired but {mood}."]
    answer = " ".join(say(rng, part, **slots) for part in [opening, middle] + [turn] * pick(rng, [1, 1, 2]) + [ending])
    wanted_words = about or "no special wishes"
    return [Turn("story", user, answer, f"The user wants a story with: {wanted_words}. I write a few sentences.",
                 keys=[{"hero": hero, "thing": thing, "place": place, "name": name}[want] for want in wanted])]
