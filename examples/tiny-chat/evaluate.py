"""Scores a model on prompts that were not trained on. By code only, greedy, by skill, seen and unseen kinds apart.

    python evaluate.py                                   # a Minerva that serves the model on 127.0.0.1:8080
    python evaluate.py --url http://HOST/v1/chat/completions --model NAME
    python evaluate.py --gguf ../../host/models/builtin/minerva-tiny.gguf   # llama.cpp in this process

The seen half comes from the corpus generator with a seed that training does not use; the unseen half from
heldout.py. `--card` writes the table and the samples into MODEL_CARD.md.
"""

import argparse
import ctypes
import json
import random
import re
import time
import urllib.request
from pathlib import Path

import heldout
from corpus import conversation, extract, facts, lists, minerva, numbers, talk, tools
from corpus.grammar import choose
from corpus.turns import Turn
from prompt import render

SEED = 987654321  # training seeds are below 1,000,000
TOKENS_MAX = 300
SEEN = [(talk.small_talk, 18), (talk.feelings, 4), (talk.memory, 18), (talk.repeat, 8), (talk.spell, 6), (talk.story, 20), (minerva.about_minerva, 24), (numbers.arithmetic, 28), (lists.count, 18),
        (lists.reverse, 18), (lists.sort, 20), (facts.capital, 14), (facts.colour, 10), (facts.opposite, 12), (facts.animal, 14), (facts.unknown, 24), (extract.extract, 36), (tools.tool_call, 72), (conversation.with_tools, 20)]
THINKING = [numbers.arithmetic, facts.capital, facts.opposite, lists.reverse, talk.small_talk, tools.tool_call, extract.extract, minerva.about_minerva]


# Runners. Each answers with what the model wrote, as (thinking, text, calls).

def parsed(text):
    """Splits raw text of the model: (thinking or None, text, calls or None where one cannot be read)."""
    thinking = None
    match = re.match(r"\s*<think>(.*?)</think>(.*)", text, re.S)
    if match:
        thinking, text = match.group(1).strip(), match.group(2)
    elif "<think>" in text:
        text = text.replace("<think>", "", 1)
    calls = []
    for body in re.findall(r"<tool_call>(.*?)</tool_call>", text, re.S):
        try:
            call = json.loads(body)
            calls.append((call["name"], call["arguments"]))
        except (ValueError, KeyError, TypeError):
            calls.append(None)
    return thinking, re.sub(r"<tool_call>.*?</tool_call>", "", text, flags=re.S).strip(), calls


class Server:
    def __init__(self, url, model):
        self.url, self.model = url, model

    def __call__(self, messages, tools, thinking):
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": TOKENS_MAX, "chat_template_kwargs": {"enable_thinking": thinking}}
        if tools:
            body["tools"] = tools
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            message = json.load(response)["choices"][0]["message"]
        thought, text, calls = parsed(message.get("content") or "")
        for call in message.get("tool_calls") or []:
            arguments = call["function"]["arguments"]
            try:
                calls.append((call["function"]["name"], json.loads(arguments) if isinstance(arguments, str) else arguments))
            except ValueError:
                calls.append(None)
        return message.get("reasoning_content") or message.get("reasoning") or thought, text, calls


class InProcess:
    """llama.cpp through the low-level half of llama-cpp-python: the most likely token, every time."""

    def __init__(self, path):
        import llama_cpp
        import numpy
        self.api, self.numpy = llama_cpp, numpy
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.quiet, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_threads, parameters.n_threads_batch = 2048, 2048, 1, 1
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)

    def tokens_of(self, text):
        raw = text.encode()
        room = (self.api.llama_token * (len(raw) + 8))()
        count = self.api.llama_tokenize(self.vocabulary, raw, len(raw), room, len(room), False, True)
        return list(room[:count])

    def piece(self, token):
        room = ctypes.create_string_buffer(256)
        size = self.api.llama_token_to_piece(self.vocabulary, token, room, 256, 0, True)
        return room.raw[:size]

    def most_likely(self):
        logits = self.api.llama_get_logits_ith(self.context, -1)
        return int(self.numpy.ctypeslib.as_array(logits, (self.size,)).argmax())

    def __call__(self, messages, tools, thinking):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        tokens = self.tokens_of(render(messages, tools, thinking, True))
        said = []
        while len(said) < TOKENS_MAX:
            fed = (self.api.llama_token * len(tokens))(*tokens)  # llama.cpp reads it while this name holds it
            self.api.llama_decode(self.context, self.api.llama_batch_get_one(fed, len(tokens)))
            token = self.most_likely()
            if self.api.llama_vocab_is_eog(self.vocabulary, token):
                break
            said.append(token)
            tokens = [token]
        return parsed(b"".join(map(self.piece, said)).decode(errors="replace"))


# Scoring.

def pattern(text):
    """A regular expression for everything that a wording pattern can say."""
    text = re.sub(r"\{\w+\}", "\0", text)
    out = "".join({"[": "(?:", "]": ")", "|": "|", "\0": ".+"}.get(char, re.escape(char)) for char in text)
    return re.compile(out.replace(r"\ ", r"\s*"), re.I | re.S)


def has(text, key):
    if key.startswith("~"):
        return re.search(key[1:], text, re.I | re.S) is not None
    if key.startswith("="):
        numbers_said = re.findall(r"-?\d+", text)
        return bool(numbers_said) and numbers_said[-1] == key[1:]
    return re.search(r"(?<!\w)" + re.escape(key) + r"(?!\w)", text, re.I) is not None


def right(turn, text, calls):
    """Whether an answer is right for `turn`."""
    if turn.calls and not turn.results:
        return calls == turn.calls
    if calls:
        return False
    if turn.skill == "story":
        sentences = re.findall(r"[.!?]", text)
        return all(has(text, key) for key in turn.keys) and len(sentences) >= 3 and text[-1:] in ".!?"
    if turn.skill == "json":
        try:
            return json.loads(text) == json.loads(turn.answer)
        except ValueError:
            return False
    if turn.accept:
        return any(pattern(accepted).fullmatch(text) for accepted in turn.accept)
    if turn.keys:
        return all(has(text, key) for key in turn.keys)
    return text == turn.answer


def prepared(turn):
    """Fills in what to check where the corpus leaves it open."""
    if turn.skill == "tool" and turn.results:
        turn.skill = "tool_result"
        try:
            result = json.loads(turn.results[-1])
        except ValueError:
            result = None
        if not isinstance(result, dict):
            result = {"": turn.results[-1].removeprefix("error: ").removeprefix("Error: ")}
            if ", " in result[""] or ":" in result[""]:
                result = dict(enumerate(re.findall(r"(?:^|, )(?:[\w ]+: )?([^,]+)", result[""])))
        values = [str(value) for value in result.values() if not isinstance(value, (bool, list))]
        values += [str(item) for value in result.values() if isinstance(value, list) for item in value]
        turn.keys = ["~done|set|sent|light|reminder|timer"] if set(values) <= {"ok", "done", "success", "sent", "started"} else values
    elif turn.skill in ("refuse", "no_tool") and not turn.keys:
        turn.keys = ["~do not know|cannot|sorry|no tool"]
    elif turn.skill == "arithmetic" and not turn.keys:
        turn.keys = ["=" + re.findall(r"-?\d+", turn.answer.split(", because")[0])[-1]] if "=" in turn.answer or turn.answer.lstrip("-").isdigit() else []
    return turn


def seen_cases(rng):
    made = []
    for skill, count in SEEN:
        for _ in range(count):
            if skill is conversation.with_tools:
                turns, definitions, _ = skill(rng)
                while turns[-1].calls:
                    turns, definitions, _ = skill(rng)
                turns[-1].label = "no_tool"
                turns[-1].tools = definitions
            else:
                turns = skill(rng)
                if skill is tools.tool_call:
                    turns[-1].tools = turns[-1].tools + tools.distractors(rng, int(rng.random() * 3), turns[-1].tools)
                    rng.shuffle(turns[-1].tools)
            made.append((turns, False))
    for index in range(50):
        turns = THINKING[index % len(THINKING)](rng)
        if turns[-1].calls:
            turns[-1].results = []
        made.append((turns, True))
    return made


def run(model, turns, thinking):
    """Plays the turns; returns what the model said at the last one, and the messages."""
    system = next((turn.system for turn in turns if turn.system), "")
    messages = [{"role": "system", "content": system}] if system else []
    definitions = list({definition["function"]["name"]: definition for turn in reversed(turns) for definition in turn.tools}.values())
    for turn in turns[:-1]:
        messages.append({"role": "user", "content": turn.user})
        if turn.calls:
            messages.append(called(turn))
            messages += [{"role": "tool", "tool_call_id": f"call_{i}", "content": result} for i, result in enumerate(turn.results)]
        messages.append({"role": "assistant", "content": turn.answer or model(messages, definitions, False)[1]})
    last = turns[-1]
    messages.append({"role": "user", "content": last.user})
    if last.results:
        messages.append(called(last))
        messages += [{"role": "tool", "tool_call_id": f"call_{i}", "content": result} for i, result in enumerate(last.results)]
    return model(messages, definitions, thinking), messages


def called(turn):
    return {"role": "assistant", "content": "", "tool_calls": [{"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}} for i, (name, arguments) in enumerate(turn.calls)]}


SKILL_NAMES = {"talk": "small talk", "memory": "what the user said before", "minerva": "Minerva and plugins", "repeat": "repeating words", "spell": "spelling", "tool": "tool call (name and all arguments)",
               "tool_result": "answer from a tool's result", "no_tool": "tools there, none called", "json": "JSON from text (all values)", "refuse": "says that it does not know", "count": "counting, first, last, largest"}


def evaluate(model, halves, failures):
    """{half: {skill: [right, all]}} and the same for the form alone."""
    scores, form = {}, {}
    for half, cases in halves.items():
        table = scores.setdefault(half, {})
        shape = form.setdefault(half, {"JSON that parses": [0, 0], "tool call that parses": [0, 0], "thinking block closed": [0, 0]})
        for turns, thinking in cases:
            turn = prepared(turns[-1])
            (thought, text, calls), messages = run(model, turns, thinking)
            good = right(turn, text, calls)
            cell = table.setdefault("thinking" if thinking else turn.label or turn.skill, [0, 0])
            cell[0] += good
            cell[1] += 1
            if thinking:
                shape["thinking block closed"][0] += bool(thought)
                shape["thinking block closed"][1] += 1
            if turn.skill == "json":
                shape["JSON that parses"][0] += parses(text)
                shape["JSON that parses"][1] += 1
            if turn.calls and not turn.results:
                shape["tool call that parses"][0] += bool(calls) and None not in calls
                shape["tool call that parses"][1] += 1
            if not good:
                failures.append(dict(half=half, skill=turn.skill, thinking=thinking, user=turn.user, tools=[t["function"]["name"] for t in turn.tools], said=text, called=calls, wanted=turn.calls if turn.calls and not turn.results else turn.accept or turn.keys or turn.answer))
    return scores, form


def parses(text):
    try:
        json.loads(text)
        return True
    except ValueError:
        return False


def table_of(scores, form):
    skills = sorted({skill for table in scores.values() for skill in table}, key=lambda skill: SKILL_NAMES.get(skill, skill))
    halves = list(scores)
    lines = ["| skill | " + " | ".join(halves) + " |", "|---|" + "---|" * len(halves)]
    cell = lambda pair: f"{pair[0]}/{pair[1]} ({100 * pair[0] / pair[1]:.0f} %)" if pair[1] else "-"
    lines += ["| " + SKILL_NAMES.get(skill, skill) + " | " + " | ".join(cell(scores[half].get(skill, [0, 0])) for half in halves) + " |" for skill in skills]
    total = {half: [sum(pair[0] for pair in table.values()), sum(pair[1] for pair in table.values())] for half, table in scores.items()}
    lines.append("| **all** | " + " | ".join(f"**{cell(total[half])}**" for half in halves) + " |")
    lines += [f"| form: {name} | " + " | ".join(cell(form[half][name]) for half in halves) + " |" for name in form[halves[0]]]
    return "\n".join(lines)


SAMPLES = ["Hello!", "What is Minerva?", "What is a plugin?", "How do I write a plugin?", "What is 27 + 45?", "I have 12 apples and eat 5. How many are left?", "What is the capital of Norway?", "Sort these numbers: 41, 7, 93, 15", "Reverse this list: red, green, blue",
           "How many items are in this list: fork, spoon, knife?", "What is the opposite of brave?", "What sound does a horse make?", "Tell me a short story about a fox and a lantern.", "Write a story about a robot in a lighthouse.",
           "Extract name, age and city as JSON from: Maria is 34 years old and lives in Porto.", "Who discovered penicillin?", "Tell me a joke."]


def samples(model):
    lines = []
    shown = lambda thought, text, calls: (f"<think>\n{thought}\n</think>\n\n" if thought else "") + text + "".join("<tool_call>\n" + json.dumps({"name": call[0], "arguments": call[1]}, ensure_ascii=False) + "\n</tool_call>" if call else "<tool_call>(cannot be read)" for call in calls)
    for user in SAMPLES:
        lines += [f"**{user}**", "", "```text", shown(*model([{"role": "user", "content": user}], [], False)), "```", ""]
    weather = tools.tool("get_weather", "Get the weather of a city", {"city": tools.STRING})
    tram = tools.tool("book_tram", "Book a seat on a tram", {"line": tools.INTEGER, "stop": tools.STRING})
    question = "What is the weather in Lisbon?"
    lines += [f"**{question}** (tools: get_weather, book_tram)", "", "```text", shown(*model([{"role": "user", "content": question}], [weather, tram], False)), "```", ""]
    question = "Book the tram with line 7 and stop Oldgate."
    lines += [f"**{question}** (tools: get_weather, book_tram)", "", "```text", shown(*model([{"role": "user", "content": question}], [weather, tram], False)), "```", ""]
    question = "What is 36 + 48?"
    lines += [f"**{question}** (enable_thinking)", "", "```text", shown(*model([{"role": "user", "content": question}], [], True)), "```", ""]
    return "\n".join(lines)


def write_card(table, sample_text):
    path = Path(__file__).parent / "MODEL_CARD.md"
    card = path.read_text()
    for name, text in (("scores", table), ("samples", sample_text.strip())):
        card = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda match: match.group(1) + text + "\n" + match.group(2), card, flags=re.S)
    path.write_text(card)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", default="http://127.0.0.1:8080/v1/chat/completions")
    arguments.add_argument("--model", default="minerva-tiny")
    arguments.add_argument("--gguf", help="run this file with llama-cpp-python instead of asking a server")
    arguments.add_argument("--failures", type=Path, help="write the wrong answers here, one JSON object a line")
    arguments.add_argument("--share", type=float, default=1.0, help="take only this share of the prompts, for a quick look")
    arguments.add_argument("--card", action="store_true", help="write the table and the samples into MODEL_CARD.md")
    options = arguments.parse_args()
    model = InProcess(options.gguf) if options.gguf else Server(options.url, options.model)
    halves = {"seen kind": seen_cases(random.Random(SEED)), "unseen kind": heldout.cases(random.Random(SEED))}
    if options.share < 1:
        rng = random.Random(1)
        halves = {half: [case for case in cases if rng.random() < options.share] for half, cases in halves.items()}
    failures, started = [], time.monotonic()
    table = table_of(*evaluate(model, halves, failures))
    print(table)
    print(f"\n{sum(map(len, halves.values()))} prompts in {time.monotonic() - started:.0f} s")
    if options.failures:
        options.failures.write_text("".join(json.dumps(failure, ensure_ascii=False) + "\n" for failure in failures))
    if options.card:
        write_card(table, samples(model))


if __name__ == "__main__":
    main()
