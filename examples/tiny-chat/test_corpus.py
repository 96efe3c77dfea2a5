"""Checks of the corpus, the tokenizer and the split. `python -m unittest test_corpus` (the last two need RUN).

MINERVA_TINY_TOKENIZER and MINERVA_TINY_GGUF name the tokenizer.json and the GGUF for the tests that need them.
"""

import json
import os
import random
import unittest

import heldout
from corpus import words
from corpus.conversation import conversation
from prompt import render


def random_text(rng):
    """Any Unicode: letters of many scripts, combining marks, emoji, spaces, control characters."""
    ranges = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x6FF), (0x900, 0x97F), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1FAFF), (0x2000, 0x206F), (0x300, 0x36F), (0x9, 0xD), (0x1, 0x10FFFF)]
    out = []
    for _ in range(int(rng.random() * 40)):
        low, high = rng.choice(ranges)
        code = rng.randint(low, high)
        if not 0xD800 <= code <= 0xDFFF:
            out.append(chr(code) * rng.choice([1, 1, 1, 2, 3]))
    return "".join(out)


class Corpus(unittest.TestCase):
    def test_same_seed_same_conversations(self):
        make = lambda: [conversation(random.Random(3)).messages for _ in range(50)]
        self.assertEqual(make(), make())

    def test_every_call_is_readable_and_names_a_tool_of_its_prompt(self):
        rng = random.Random(4)
        for _ in range(3000):
            made = conversation(rng)
            names = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in made.tools}
            for message in made.messages:
                for body in message["content"].split("<tool_call>\n")[1:] if message["role"] == "assistant" else []:
                    call = json.loads(body.split("\n</tool_call>")[0])
                    self.assertEqual(list(call["arguments"]), [key for key in call["arguments"] if key in names[call["name"]]])

    def test_pools_of_the_unseen_half_are_not_in_the_corpus(self):
        trained = {name: set(map(str.lower, getattr(words, name))) for name in ("TOOL_VERBS", "TOOL_NOUNS", "PARAM_STRINGS", "PARAM_INTEGERS", "NAMES", "CITIES", "FOODS", "OBJECTS", "PLACES", "STORY_ANIMALS", "STORY_PEOPLE")}
        for pool in ("VERBS", "NOUNS", "STRING_KEYS", "INTEGER_KEYS", "NAMES", "CITIES", "ITEMS", "HEROES", "THINGS", "SPOTS"):
            for name, known in trained.items():
                self.assertEqual(set(map(str.lower, getattr(heldout, pool))) & known, set(), f"{pool} and {name}")

    def test_no_request_of_the_unseen_half_is_in_the_corpus(self):
        asked = {turn.user.lower() for turns, _ in heldout.cases(random.Random(987654321)) for turn in turns}
        rng = random.Random(5)
        for _ in range(30000):
            for message in conversation(rng).messages:
                if message["role"] == "user":
                    self.assertNotIn(message["content"].lower(), asked)


@unittest.skipUnless(os.environ.get("MINERVA_TINY_GGUF") and os.environ.get("MINERVA_TINY_TOKENIZER"), "needs a GGUF and its tokenizer.json")
class Tokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import llama_cpp
        from tokenizers import Tokenizer
        cls.trained = Tokenizer.from_file(os.environ["MINERVA_TINY_TOKENIZER"])
        cls.served = llama_cpp.Llama(os.environ["MINERVA_TINY_GGUF"], vocab_only=True, verbose=False)

    def test_llama_cpp_splits_as_the_training_did(self):
        rng = random.Random(6)
        for _ in range(2000):
            made = conversation(rng)
            text = render(made.messages, made.tools, made.thinking, True)
            self.assertEqual(self.served.tokenize(text.encode(), add_bos=False, special=True), self.trained.encode(text, add_special_tokens=False).ids)

    def test_any_text_comes_back(self):
        rng = random.Random(7)
        for _ in range(10000):
            text = random_text(rng)
            tokens = self.served.tokenize(text.encode(), add_bos=False, special=False)
            self.assertEqual(b"".join(self.served.detokenize([token], special=True) for token in tokens), text.encode())


if __name__ == "__main__":
    unittest.main()
