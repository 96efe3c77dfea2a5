"""Small tools for writing many wordings in one line.

A pattern is text with choices and slots: "[What is|What's] the capital of {country}?" `say` picks the
choices, makes the wording a little untidy where asked, and fills the slots last, so that untidiness never
touches a value which the answer has to repeat.
"""

import json
import re
from pathlib import Path

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")


def pick(rng, items):
    return items[int(rng.random() * len(items))]


def choose(rng, pattern):
    """Replaces every [a|b|c], innermost first."""
    while True:
        changed, count = CHOICE.subn(lambda match: pick(rng, match.group(1).split("|")), pattern)
        if not count:
            return re.sub(r"  +", " ", changed).strip()
        pattern = changed


def fill(text, slots):
    return SLOT.sub(lambda match: str(slots[match.group(1)]) if match.group(1) in slots else match.group(0), text)


def say(rng, patterns, **slots):
    """One tidy wording: what the assistant says."""
    pattern = patterns if isinstance(patterns, str) else pick(rng, patterns)
    text = fill(choose(rng, pattern), slots)
    return text[:1].upper() + text[1:]


OPENINGS = ["please", "hey,", "hi,", "hello,", "ok,", "okay,", "so", "now", "well,", "quick question:", "tell me,",
            "one more thing:", "next:", "I wonder:", "hi there,", "good morning,", "excuse me,", "minerva,",
            "question:", "and", "also,", "hey minerva,", "next question:", "dear assistant,", "um,"]
CLOSINGS = ["please", "thanks", "thank you", "if you can", "for me", "now", "quickly", "please?", "would you?",
            "thanks!", "if you know", "today", "I need it", "it matters to me", "for my homework"]


CONTEXTS = ["I have a question.", "Here is a question:", "My friend asks:", "My teacher asks this:", "I need some help.", "Help me.", "This is for school.", "I am curious.", "Let us play a game.", "A riddle for you:", "My daughter wants to know:", "I was thinking.",
            "Maybe you know this.", "One question:", "I would like to ask you something.", "Listen:", "My son asks:", "I am writing a text.", "Something else now.", "I am stuck.", "It is for a puzzle.", "We are making a list.", "I forgot it.", "Let me test you.", "New topic.", "Something simple:",
            "You will know this:", "A small task:", "Here is your task:", "Your next job:", "I hope you can help.", "Be so good and help me:", "I have no idea.", "I am not sure about this one."]
FILLERS = ["just", "again", "actually", "really", "exactly", "quickly", "simply", "then", "now", "maybe", "perhaps", "here", "right now", "kind of", "still", "also"]
DROPPABLE = {"the", "a", "is", "are", "me", "do", "does", "you", "can", "could", "please", "of", "this", "these", "it", "for", "that", "what", "an", "i", "to"}
SYNONYMS = {"what's": ["what is", "whats"], "write": ["compose", "produce", "type", "create", "draft"], "list": ["row", "series", "sequence", "lineup", "collection"], "want": ["wish", "would love", "need", "desire", "hope"], "need": ["require", "want"],
            "give": ["hand", "show", "offer", "send", "get"], "name": ["mention", "state", "say"], "explain": ["clarify", "make clear", "spell out", "describe"], "describe": ["explain", "sketch"], "find": ["figure out", "determine", "get", "spot"], "calculate": ["figure out", "determine", "evaluate"],
            "many": ["many", "lots of"], "say": ["state", "utter", "speak", "tell"], "short": ["tiny", "quick", "brief", "small"], "little": ["tiny", "small"], "these": ["those"], "this": ["that"], "words": ["terms", "words here"], "numbers": ["figures", "values", "numbers here"],
            "sort": ["order", "arrange", "rank"], "called": ["named", "known as"], "make": ["create", "build", "form"], "use": ["employ", "try", "take"], "with": ["having", "using", "with"], "from": ["out of", "from"], "text": ["passage", "sentence", "note", "snippet"], "extract": ["pull", "collect", "take", "read off", "gather"],
            "turn": ["bring", "change"], "about": ["around", "on", "concerning", "regarding"], "can": ["could"], "remember": ["recall", "still know"], "reverse": ["invert", "turn round"],
            "backwards": ["back to front", "in reverse"], "count": ["count", "tally"], "have": ["have got", "own", "hold"], "has": ["has got", "owns", "holds"], "work": ["function", "operate"], "animal": ["creature", "beast", "animal"], "legs": ["feet", "legs"], "eat": ["consume"], "live": ["dwell", "live", "stay"],
            "colour": ["color", "shade", "hue"], "opposite": ["opposite", "contrary", "antonym"], "capital": ["capital", "capital town"], "program": ["software", "tool"], "thanks": ["thank you", "thanks so"], "hello": ["hullo", "hello"]}


def reworded(rng, text):
    """The same request in slightly other words: small words lost, fillers added, synonyms taken. Whoever reads
    such text learns to go by the words that matter."""
    out = []
    for word in text.split(" "):
        bare = word.lower().strip(".,?!:")
        roll = rng.random()
        if "{" in word or "\n" in word:
            out.append(word)
            continue
        if bare in SYNONYMS and roll < 0.25:
            out.append(word.lower().replace(bare, pick(rng, SYNONYMS[bare])))
        elif bare in DROPPABLE and bare == word.lower() and roll > 0.88:
            continue
        else:
            out.append(word)
        if roll < 0.03:
            out.append(pick(rng, FILLERS))
    return " ".join(out)


def typo(rng, text):
    """Swaps, drops or doubles one letter of one longer word outside the slots."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not places:
        return text
    place = pick(rng, places)
    word = words[place]
    at = 1 + int(rng.random() * (len(word) - 2))
    kind = rng.random()
    if kind < 0.4:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    elif kind < 0.7:
        word = word[:at] + word[at + 1:]
    else:
        word = word[:at] + word[at] + word[at:]
    words[place] = word
    return " ".join(words)


def ask(rng, patterns, **slots):
    """One wording of a request as people type it: polite or not, tidy or not."""
    pattern = patterns if isinstance(patterns, str) else pick(rng, patterns)
    text = choose(rng, pattern)
    starts_with_slot = text.startswith("{")
    if rng.random() < 0.35:
        text = reworded(rng, text)
        starts_with_slot = text.startswith("{")
    if rng.random() < 0.07:
        text = pick(rng, CONTEXTS) + " " + text
    elif rng.random() < 0.12:
        opening = pick(rng, OPENINGS)
        text = opening + " " + (text if text[:2] == "I " or text[:2] == "I'" else text[:1].lower() + text[1:])
    if rng.random() < 0.08 and text[-1:] in "?.":
        text = text[:-1] + ", " + pick(rng, CLOSINGS) + text[-1]
    roll = rng.random()
    if roll < 0.18:
        text = text.lower() if "{" not in text else re.sub(r"(\{\w+\})|([^{]+)", lambda m: m.group(1) or m.group(2).lower(), text)
    elif roll < 0.85 and not starts_with_slot:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.15 and text[-1:] in "?.!":
        text = text[:-1]
    elif rng.random() < 0.03:
        text = text + pick(rng, ["!", "!!", "??", " :)", "...", " ?"])
    if rng.random() < 0.05:
        text = typo(rng, text)
    return fill(text, slots)


def join(items, last="and"):
    items = [str(item) for item in items]
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + f" {last} " + items[-1]


def compact(value):
    """JSON as the assistant writes it."""
    return json.dumps(value, ensure_ascii=False)


ONSETS = ["b", "bl", "br", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k", "kl", "kr", "l",
          "m", "n", "p", "pl", "pr", "qu", "r", "s", "sh", "sk", "sl", "sn", "sp", "st", "t", "th", "tr", "v", "w", "y", "z", "zw", ""]
VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou", "io", "y"]
CODAS = ["", "", "", "b", "ck", "d", "f", "g", "k", "l", "ll", "m", "n", "nd", "ng", "nk", "nt", "p", "r", "rd", "rk", "s", "ss",
         "st", "t", "x", "z", "sh", "th", "lt", "mp"]


def pseudo_word(rng, syllables=None):
    """A word that means nothing: the model can only copy it."""
    count = syllables or pick(rng, [1, 2, 2, 2, 3])
    return "".join(pick(rng, ONSETS) + pick(rng, VOWELS) + pick(rng, CODAS) for _ in range(count))


BEGINNINGS = "ab ac ad al am an ap ar as at be bi ca co com con cor cu de dec di dis do du em en ex fa fi for fre ga ge gra ha he hu im in inter ju la le li lo ma me mi mo mu na ne no ob op or out over pa pe per po pre pro pu ra re ro sa se si so sta sub sur sus ta ti to tra trans tri tru tu un under up va ve vi wa we wi".split()
MIDDLES = "bar ber bin bla bor cal can car cat cel cen ces chan cid cil cip cla clu cog cov cre cul cur dic din dra duc fac fec fen fer fin flec flu for ful gam gen ger gin gra gul lam lan lar lec lem lev lib lic lim lin lis lit loc log lub lum mag man mar mas med mem men mer mil min mis mit mon mor mul mun nal nec nim nom nor nun pal pan par pel pen per pic pil pin pla plo pol por pos pul quen quis ral ram ran rap rec reg rem ren res rib ric rin rit rob rol rom rup sac sal san sec sen ser sic sid sim sis sol son sor spen stan stec stim stit stra stru sul tac tal tan tar tec tem ten ter tic til tin tol tom tor tra tri tur val van var vec vel ven ver vic vid vil vin vir vis vit vol".split()
ENDINGS = "able ace age ail al ane ant ard ary ate ben cake ce ch ck cy dle dom dow ed el em en ence end er ern ess est et ete ette ey ful gate ge gle ic ice id ide ie ier ify il ile in ine ing ion ise ish ism ist ite ity ive ize kin land le ledge less let ling lock ly man me ment mer mon mp na ne ness net nt oat off ol on oon or ory ose ote ound ous out over ow point pond port pt que ram re room se ship side some st stle strom sty t te ten ter tion tle ton tor try ture ty ue ult um ump und ung ure us ut way well wick wing wood work yard".split()
HALVES = "air back bed bell bird blood board boat body bone book box brick butter camp candle cart cat clock cloud coal corn cross day dew dog door down dragon drift dust ear earth egg farm field finger fire fish flat flood foot frost garden ghost gold grass green gun hail hair half hand head heart high home honey horn horse iron jelly key king lamp leaf life light lime load main man moon mud nail neck night oil out over paper pea pine pipe pot quick rain river road rock sail salt sand saw sea shell ship side silver sky smoke snow spring star steam stone storm straw summer sun swan sword table tail thunder tide tooth tree turn twin under wall wash watch water wave wheel wild wind winter wolf word work worm yellow".split()


# The letters of every token of the vocabulary: each must be copied from where it stands, wherever in a word that is.
PIECES = sorted({"".join(re.findall("[a-z]+", token)) for token in json.loads((Path(__file__).parent.parent / "tokenizer.json").read_text())["model"]["vocab"]} - {"", "sum", "where", "llama"})  # the unseen half has these for itself


def word_like(rng):
    """A word built as English ones are, real or not, or of the vocabulary's pieces. Its tokens are common ones in new
    company, so that a name from the prompt has to be copied token by token, to its end."""
    roll = rng.random()
    if roll < 0.2:
        return pick(rng, HALVES) + pick(rng, HALVES)
    if roll < 0.6:
        word = "".join(pick(rng, PIECES) for _ in range(pick(rng, [1, 1, 2, 2, 3])))
        if 3 <= len(word) <= 16:
            return word
    return pick(rng, BEGINNINGS) + "".join(pick(rng, MIDDLES) for _ in range(pick(rng, [0, 1, 1, 1, 2]))) + pick(rng, ENDINGS)
