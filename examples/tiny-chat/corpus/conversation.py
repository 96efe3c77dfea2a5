"""Puts turns together into conversations: system prompts, several turns, tools, thinking."""

from dataclasses import dataclass, field

from . import extract, facts, lists, minerva, numbers, talk, tools
from .grammar import ask, choose, compact, pick, pseudo_word, say
from .turns import Turn
from .words import NAMES

SKILLS = [(talk.small_talk, 8), (talk.feelings, 2), (talk.memory, 4), (talk.repeat, 3), (talk.spell, 1), (talk.story, 5), (minerva.about_minerva, 7),
          (numbers.arithmetic, 16), (numbers.several, 15), (numbers.compare, 2), (lists.reverse, 10), (lists.sort, 16), (lists.count, 11), (facts.capital, 8), (facts.colour, 5),
          (facts.opposite, 7), (facts.several, 8), (facts.animal, 9), (facts.unknown, 6), (extract.extract, 13)]
WITH_TOOLS = [(talk.small_talk, 8), (talk.memory, 3), (talk.repeat, 2), (talk.story, 2), (minerva.about_minerva, 4), (lists.reverse, 3), (lists.sort, 3),
              (lists.count, 2), (facts.capital, 4), (facts.colour, 2), (facts.opposite, 3), (facts.animal, 3), (extract.extract, 3)]
SYSTEMS = ["You are a [helpful|friendly|kind|polite|small|useful|good|cheerful|careful] [assistant|helper|chat assistant|model|AI assistant|companion].", "You are Minerva[| Tiny][|, a helpful assistant|, a small model|, a friendly helper].", "[Be|Please be] [brief|short|polite|kind|helpful|friendly|honest][| and clear].",
           "You are a helpful assistant. [Be brief|Answer in one sentence|Keep it short|Be honest|Answer politely|Say so if you do not know].", "[Answer|Reply] [the user|the questions|all questions|briefly|politely|in English][.|]", "[Help|Assist] the user[ with everyday things| kindly|].", "Today is a [nice|sunny|rainy] day. You are a helpful assistant.", "You are a chatbot[| on a website| in a shop| in a school]."]
TOOL_SYSTEMS = ["You are a [helpful|friendly|useful] [assistant|helper] [with|that can use|that has] tools.", "[Use|Call] [a tool|the tools|tools] [when|if] [it helps|needed|you need to|one fits].", "You may call [the tools|tools|functions]."]
THINK_SYSTEMS = ["Think [step by step|first|carefully] before you [answer|reply].", "[Always |Please |]think before [you answer|answering].", "[Show|Write down] your [thinking|reasoning] first.", "Reason [first|step by step], then answer.", "You are a helpful assistant. Think before you answer.", "You are a careful assistant that thinks [first|before answering]."]
THINK_ASKS = ["Think first[:|.]", "Think step by step[:|.]", "Think before you answer[:|.]", "[Please t|T]hink carefully[:|.]", "Reason first[:|.]"]


@dataclass
class Conversation:
    """`messages` end with an assistant message. `final_only`: learn from the last message alone, because a
    server strips the thinking of the earlier ones and so they are not what the model would have said."""
    messages: list
    tools: list = field(default_factory=list)
    thinking: bool = False
    final_only: bool = False
    skills: list = field(default_factory=list)


def weighted(rng, table):
    at = rng.random() * sum(weight for _, weight in table)
    for item, weight in table:
        at -= weight
        if at < 0:
            return item
    return table[-1][0]


def call_text(name, arguments):
    return "<tool_call>\n" + f'{{"name": {compact(name)}, "arguments": {compact(arguments)}}}' + "\n</tool_call>"


def thought(think, text):
    return f"<think>\n{think}\n</think>\n\n{text}"


def plain_turns(rng, table, count):
    turns = []
    while len(turns) < count:
        new = weighted(rng, table)(rng)
        if any(turn.system for turn in new) and (turns or count > 1):
            continue
        turns += new
    return turns


def persona(rng):
    name = pick(rng, NAMES) if rng.random() < 0.5 else pseudo_word(rng, 2).capitalize()
    system = say(rng, ["You are {v}[, a helpful assistant|, a friendly robot|, a small assistant|].", "Your name is {v}.", "You are called {v}[|. Be helpful]."], v=name)
    user = ask(rng, ["[what is|what's|tell me] your name?", "who are you?", "what are you called?", "what should I call you?", "do you have a name?", "who am I talking to?", "introduce yourself", "your name?"])
    return [Turn("memory", user, say(rng, ["My name is {v}.", "I am {v}."], v=name), f"My name is {name}.", system=system, keys=[name])]


def messages_of(turns, thinking):
    """Every turn but the last without its thinking; of the last one also the answer to a tool's result."""
    messages = []
    for index, turn in enumerate(turns):
        last = index == len(turns) - 1
        messages.append({"role": "user", "content": turn.user})
        if turn.calls:
            calls = "\n".join(call_text(name, arguments) for name, arguments in turn.calls)
            messages.append({"role": "assistant", "content": thought(turn.think, calls) if thinking and last and not turn.results else calls})
            for result in turn.results:
                messages.append({"role": "tool", "content": result})
            if turn.results:
                messages.append({"role": "assistant", "content": thought("The tool has answered. I tell the user what it says.", turn.answer) if thinking and last else turn.answer})
        else:
            messages.append({"role": "assistant", "content": thought(turn.think, turn.answer) if thinking and last else turn.answer})
    return messages


def without_tools(rng):
    if rng.random() < 0.02:
        turns = persona(rng) + plain_turns(rng, SKILLS[:3], int(rng.random() * 2))
    else:
        turns = plain_turns(rng, SKILLS, pick(rng, [1, 1, 2, 2, 3, 4, 5]))
    return turns, [], next((turn.system for turn in turns if turn.system), "") or (choose(rng, pick(rng, SYSTEMS)) if rng.random() < 0.4 else "")


def with_tools(rng):
    turns, tools_seen = [], []
    first = rng.random()
    if first < 0.78:
        new = tools.tool_call(rng)
        turns += new
        tools_seen += new[0].tools
        tools_seen += tools.distractors(rng, pick(rng, [0, 0, 1, 2, 2, 3]), tools_seen)
        if not new[0].calls or new[0].results:
            if rng.random() < 0.3:
                again = next_call(rng, new[0])
                if again:
                    turns.append(again)
            elif rng.random() < 0.3:
                turns += plain_turns(rng, WITH_TOOLS, 1)
        if rng.random() < 0.12:
            turns = plain_turns(rng, WITH_TOOLS, 1) + turns
    else:
        if rng.random() < 0.5:
            turns, missing = tools.no_tool_fits(rng)
            tools_seen = tools.distractors(rng, pick(rng, [1, 2, 3]), [missing, tools.search(rng)[0]])
        else:
            turns = plain_turns(rng, WITH_TOOLS, pick(rng, [1, 1, 2]))
        if not tools_seen:
            tools_seen = tools.distractors(rng, pick(rng, [1, 2, 3]), [])
    rng.shuffle(tools_seen)
    turns = [turn for turn in turns if not turn.system] or plain_turns(rng, [(talk.small_talk, 1)], 1)
    return turns, tools_seen, choose(rng, pick(rng, TOOL_SYSTEMS + SYSTEMS[:4])) if rng.random() < 0.3 else ""


def next_call(rng, turn):
    """A second call of the same well-known tool for another place: "and in Oslo?"."""
    name, arguments = turn.calls[0]
    if len(arguments) != 1 or not tools.purposes(turn.tools[0]) & {"weather", "clock"}:
        return None
    key = next(iter(arguments))
    from .extract import city
    place = city(rng)
    user = ask(rng, ["[and|what about|how about|and what about|also] [in |][|for ]{c}?", "and in {c}?", "[now|the same for|again for|also for] {c}[.|, please.]", "now for {c}."], c=place)
    return Turn("tool", user, think=tools.reasoning(turn.tools[0], {key: place}), calls=[(name, {key: place})])


def conversation(rng):
    tooled = rng.random() < 0.5
    turns, definitions, system = (with_tools if tooled else without_tools)(rng)
    thinking, by_flag = rng.random() < 0.26 and turns[-1].think != "", False
    if thinking:
        how = rng.random()
        if how < 0.6:
            by_flag = True
        elif how < 0.8 and not any(turn.system for turn in turns):
            system = choose(rng, pick(rng, THINK_SYSTEMS))
        elif not turns[-1].calls:
            turns[-1].user = choose(rng, pick(rng, THINK_ASKS)) + " " + turns[-1].user if rng.random() < 0.7 else turns[-1].user + " " + choose(rng, pick(rng, THINK_ASKS)).rstrip(":")
        else:
            by_flag = True
    if thinking and not definitions and not any(turn.skill == "memory" for turn in turns) and rng.random() < 0.7:
        # Whether it thinks is decided at its first word: that needs practice without turns before.
        turns = turns[-1:]
    messages = ([{"role": "system", "content": system}] if system else []) + messages_of(turns, thinking)
    return Conversation(messages, definitions, by_flag, thinking, [turn.skill for turn in turns])
