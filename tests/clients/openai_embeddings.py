"""Asks a running server for embeddings with the `openai` package, as its users' programs do.

    python openai_embeddings.py http://127.0.0.1:8080 [API key]

Expects one model, which makes embeddings. Every mismatch is printed; the exit status is how many there were.
"""

import asyncio
import math
import sys

import openai

from checks import equal, run, true

TEXTS = ["A fox", "Another fox", "Füchse 🦊"]


def close(left, right, what):
    equal(len(left), len(right), what)
    apart = max(abs(one - other) for one, other in zip(left, right))
    true(apart < 1e-3, f"{what}: {apart} apart")


class Checks:
    """Each method is a check; its name says what holds."""

    def __init__(self, url, key):
        self.options = {"base_url": f"{url}/v1", "api_key": key, "max_retries": 0, "timeout": 120}
        self.client = openai.OpenAI(**self.options)
        self.model = self.client.models.list().data[0].id

    def embed(self, texts, **more):
        return self.client.embeddings.create(model=self.model, input=texts, **more)

    def base64_and_floats_are_the_same_numbers(self):
        # The package asks for base64 by itself.
        encoded, plain = self.embed(TEXTS), self.embed(TEXTS, encoding_format="float")
        equal([entry.index for entry in encoded.data], [0, 1, 2], "indices")
        for one, other in zip(encoded.data, plain.data):
            close(one.embedding, other.embedding, "base64 and floats")
        close([math.hypot(*plain.data[0].embedding)], [1], "length")
        true(encoded.usage.prompt_tokens == encoded.usage.total_tokens > 3, f"{encoded.usage}")

    def many_are_embedded_side_by_side(self):
        expected = self.embed(TEXTS[1]).data[0].embedding

        async def all_of_them():
            async with openai.AsyncOpenAI(**self.options) as client:
                create = client.embeddings.create
                return await asyncio.gather(*(create(model=self.model, input=TEXTS) for _ in range(16)))

        for answer in asyncio.run(all_of_them()):
            close(answer.data[1].embedding, expected, "one of sixteen")

    def dimensions_shorten(self):
        short = self.embed(TEXTS[0], dimensions=8).data[0].embedding
        whole = self.embed(TEXTS[0]).data[0].embedding[:8]
        close(short, [number / math.hypot(*whole) for number in whole], "eight dimensions")

    def mistakes_raise_the_right_errors(self):
        for texts, words in [([], "at least one"), ("x " * 2000, "tokens")]:
            try:
                self.embed(texts)
            except openai.BadRequestError as error:
                true(words in error.message, f"{words!r} in {error.message!r}")
            else:
                raise AssertionError(f"no BadRequestError for {texts[:3]!r}")


def main(url, key="none"):
    checks = Checks(url.rstrip("/"), key)
    names = [name for name in vars(Checks) if not name.startswith("_") and name != "embed"]
    return run(checks, names, f"embeddings of openai {openai.__version__}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
