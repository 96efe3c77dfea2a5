"""Sums with small numbers, as sums and as little stories."""

from .grammar import ask, pick, say
from .turns import Turn
from .words import FOODS, NAMES, OBJECTS

WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
THINGS = [word + "s" for word in FOODS + OBJECTS if word[-1] not in "sxhy"]


def two_numbers(rng, operation):
    if operation in "+-":
        most = pick(rng, [10, 20, 20, 50, 50, 100])
        a, b = int(rng.random() * (most + 1)), int(rng.random() * (most + 1))
        if operation == "-" and b > a:
            a, b = b, a
        return a, b
    a, b = int(rng.random() * 11), int(rng.random() * 11)
    if operation == "/":
        b = max(b, 1)
        return a * b, b
    return a, b


def result_of(a, operation, b):
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[operation]


def steps(a, operation, b):
    """The written-out reasoning for a sum."""
    r = result_of(a, operation, b)
    if operation == "+" and a > 9 and b > 9:
        return f"{a // 10 * 10} + {b // 10 * 10} = {a // 10 * 10 + b // 10 * 10} and {a % 10} + {b % 10} = {a % 10 + b % 10}, so {a} + {b} = {r}."
    if operation == "-" and a > 9 and b > 9:
        return f"{a} - {b // 10 * 10} = {a - b // 10 * 10} and {a - b // 10 * 10} - {b % 10} = {r}, so {a} - {b} = {r}."
    return f"{a} {operation} {b} = {r}."


SIGNS = {"+": ["+", "plus", "+"], "-": ["-", "minus", "-"], "*": ["*", "times", "x", "multiplied by"], "/": ["/", "divided by", "over"]}
SUM_ASKS = ["[what is|what's|how much is|calculate|compute|work out|solve|tell me|what does|give me|find|can you calculate|can you work out|do you know] {a} {s} {b}[?|.]", "{a} {s} {b}", "{a} {s} {b} =", "{a} {s} {b} = ?", "{a} {s} {b} [is|equals|makes] [what|how much]?", "[what is the result of|what do you get for|what is the answer to|what do I get from|the answer to] {a} {s} {b}[?|]", "how much [does|do] {a} {s} {b} [make|give]?", "[sum|maths|math|quiz]: {a} {s} {b}"]
NAMED = {"+": ["[what is|tell me|calculate|find] the sum of {a} and {b}[?|.]", "add {a} and {b}.", "add {b} to {a}.", "what do you get if you add {a} and {b}?", "[how much|what] is {a} and {b} [together|in total|added up]?", "{b} more than {a} is what?"],
         "-": ["[what is|tell me|calculate|find] the difference [between|of] {a} and {b}[?|.]", "subtract {b} from {a}.", "take {b} away from {a}.", "what is left if you take {b} from {a}?", "what is {a} less {b}?", "{b} less than {a} is what?"],
         "*": ["[what is|tell me|calculate|find] the product of {a} and {b}[?|.]", "multiply {a} [by|and|with] {b}.", "what do you get if you multiply {a} by {b}?"],
         "/": ["divide {a} by {b}.", "what do you get if you divide {a} by {b}?", "how often does {b} go into {a}?", "how many times does {b} fit into {a}?"]}
STORIES = {"+": ["{n} has {a} {t} and [gets|buys|finds|wins|receives|is given|picks] {b} more. How many {t} does {n} have[| now| then| in all| altogether]?", "I have {a} {t} and [buy|get|find|receive|win] {b} more. How many [{t} |]do I have[| now]?", "there are {a} {t} [in a box|on the table|in a bag|on a shelf] and {b} {t} [on the floor|on a chair|outside|in a basket]. How many {t} are there[| in all| altogether]?",
                 "{n} has {a} {t} and {m} has {b} {t}. How many {t} do they have [together|in all|altogether]?", "how many {t} are {a} {t} and {b} {t}?"],
           "-": ["{n} has {a} {t} and [loses|gives away|sells|eats|drops|breaks|throws away] {b}[| of them]. How many {t} [does {n} have left|are left|remain|has {n} got left]?", "I have {a} {t} and [lose|sell|give away|give {n}|use|eat] {b}[| of them]. How many [{t} |]do I have left?", "there are {a} {t} on the table. {n} takes {b}[| away]. How many [{t} |]are left?", "there were {a} {t}. {b} are gone. How many {t} [are left|remain]?"],
           "*": ["[there are|I have|{n} has] {a} [boxes|bags|baskets|rows] with {b} {t} [each|in each]. How many {t} [are there|is that|are there in all]?", "{a} [boxes|bags|rows] of {b} {t}: how many {t}?", "one [box|bag] holds {b} {t}. How many {t} are in {a} [boxes|bags]?"],
           "/": ["{a} {t} are shared [equally |]by {b} [children|people|friends]. How many {t} does each [get|one get]?", "{n} puts {a} {t} into {b} [equal |][boxes|bags|groups]. How many {t} are in each?", "[share|divide] {a} {t} [among|between] {b} [people|children|friends]. How many does each get?"]}


def arithmetic(rng):
    operation = pick(rng, "++--**/")
    a, b = two_numbers(rng, operation)
    r = result_of(a, operation, b)
    roll = rng.random()
    slots = dict(a=a, b=b, r=r, s=pick(rng, SIGNS[operation]), n=pick(rng, NAMES), m=pick(rng, NAMES), t=pick(rng, THINGS))
    if roll < 0.25 and (operation != "*" or True):
        user = ask(rng, STORIES[operation], **slots)
        answer = say(rng, ["{a} {o} {b} = {r}, so the answer is {r}.", "The answer is {r}, because {a} {o} {b} = {r}."], o=operation, **slots)
        return [Turn("arithmetic", user, answer, "This is a sum: " + steps(a, operation, b))]
    if roll < 0.45:
        user = ask(rng, NAMED[operation], **slots)
    else:
        words = roll > 0.93 and a <= 20 and b <= 20
        if words:
            slots.update(a=WORDS[a], b=WORDS[b], s=pick(rng, [sign for sign in SIGNS[operation] if sign.isalpha() and sign != "x"] or ["plus"]))
        user = ask(rng, SUM_ASKS, **slots)
    if rng.random() < 0.1 and operation != "/" and b:
        user = user.rstrip("?. =") + pick(rng, ["? Just the number.", "? Only the number, please.", ". Answer with a number.", "? Answer with the number only."])
        return [Turn("arithmetic", user, str(r), steps(a, operation, b))]
    return [Turn("arithmetic", user, f"{a} {operation} {b} = {r}" + pick(rng, [".", "."]), steps(a, operation, b))]


def compare(rng):
    a, b = int(rng.random() * 100), int(rng.random() * 100)
    if a == b:
        b += 1
    large = rng.random() < 0.5
    word = pick(rng, ["larger", "bigger", "greater", "more"] if large else ["smaller", "less", "lower"])
    best = max(a, b) if large else min(a, b)
    other = min(a, b) if large else max(a, b)
    user = ask(rng, ["[which|what] is {w}[:|,] {a} or {b}?", "[which|what] [number |]is {w}, {a} or {b}?", "is {a} or {b} {w}?", "{a} or {b}: which is {w}?", "[of|between] {a} and {b}, which [one |]is {w}?", "tell me which is {w}: {a} or {b}."], w=word, a=a, b=b)
    shown = {"more": "larger", "less": "smaller"}.get(word, word)
    return [Turn("arithmetic", user, f"{best} is {shown} than {other}.", f"{best} is {shown} than {other}.")]


def several(rng):
    """A few sums at once: much practice in few words."""
    sums = []
    same = pick(rng, "+-*/") if rng.random() < 0.5 else None
    for _ in range(pick(rng, [2, 3, 4, 5, 6, 8])):
        operation = same or pick(rng, "++--**/")
        sums.append((*two_numbers(rng, operation), operation))
    separator = pick(rng, [", ", "; ", "\n", " and "])
    user = ask(rng, ["[calculate|compute|work out|solve|what is|do] [these|these sums|the following|][:|] {l}", "{l}", "[sums|maths|exercise]: {l}", "[can you|please] [calculate|solve|do] {l}?"], l=separator.join(f"{a} {o} {b}" for a, b, o in sums))
    answer = ", ".join(f"{a} {o} {b} = {result_of(a, o, b)}" for a, b, o in sums)
    return [Turn("arithmetic", user, answer + ".", f"There are {len(sums)} sums. I do them one by one.", keys=[f"{a} {o} {b} = {result_of(a, o, b)}" for a, b, o in sums])]
