"""Talks to a running server with LangChain and LiteLLM, as their users' programs do.

    python frameworks.py http://127.0.0.1:8080 [API key]

Expects one model. Every mismatch is printed; the exit status is how many there were.
"""

import asyncio
import importlib.metadata
import os
import sys

# LiteLLM would fetch a table of prices, and LangChain would report.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LANGCHAIN_TRACING_V2"] = "false"

import litellm
import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from checks import equal, run, true

QUESTION = "What is a plugin?"
WEATHER = "What is the weather in Paris?"


class City(BaseModel):
    # With bounds: a small model may go on with letters and digits for ever.
    city: str = Field(max_length=20)
    degrees: int = Field(ge=-50, le=60)


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city"""
    return '{"temperature": 21, "condition": "sunny"}'


class Checks:
    """Each method is a check; its name says what holds."""

    def __init__(self, url, key):
        options = {"base_url": f"{url}/v1", "api_key": key, "max_retries": 0, "timeout": 120}
        plain = openai.OpenAI(**options)
        self.model = plain.models.list().data[0].id
        messages = [{"role": "user", "content": QUESTION}]
        answer = plain.chat.completions.create(model=self.model, messages=messages, temperature=0, max_tokens=48)
        self.expected = answer.choices[0].message.content
        self.chain = ChatOpenAI(model=self.model, temperature=0, max_tokens=48, **options)
        self.lite = {"model": f"openai/{self.model}", "api_base": f"{url}/v1", "api_key": key, "temperature": 0}

    def langchain_asks_streams_and_batches(self):
        equal(self.chain.invoke(QUESTION).content, self.expected, "invoke")
        equal("".join(chunk.content for chunk in self.chain.stream(QUESTION)), self.expected, "stream")
        answers = self.chain.batch([QUESTION] * 4)
        equal({answer.content for answer in answers}, {self.expected}, "batch")
        true(answers[0].usage_metadata["output_tokens"] > 0, f"usage: {answers[0].usage_metadata}")

    def langchain_asks_asynchronously(self):
        async def one():
            return "".join([chunk.content async for chunk in self.chain.astream(QUESTION)])

        equal(asyncio.run(one()), self.expected, "astream")

    def langchain_calls_tools(self):
        bound = self.chain.bind_tools([get_weather])
        asked = bound.invoke(WEATHER)
        equal([(call["name"], call["args"]) for call in asked.tool_calls], [("get_weather", {"city": "Paris"})], "calls")
        result = get_weather.invoke(asked.tool_calls[0])
        said = bound.invoke([("user", WEATHER), asked, result]).content
        true("21" in said, said)

    def langchain_gets_what_a_schema_says(self):
        for method in ("json_schema", "function_calling"):
            city = self.chain.with_structured_output(City, method=method).invoke(WEATHER)
            true(isinstance(city, City), f"{method}: {city!r}")

    def complete(self, content=QUESTION, **more):
        messages = [{"role": "user", "content": content}]
        return litellm.completion(messages=messages, **{**self.lite, "max_tokens": 48, **more})

    def litellm_asks_and_streams(self):
        equal(self.complete().choices[0].message.content, self.expected, "completion")
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in self.complete(stream=True))
        equal(streamed, self.expected, "stream")

    def litellm_asks_asynchronously(self):
        messages = [{"role": "user", "content": QUESTION}]
        answer = asyncio.run(litellm.acompletion(messages=messages, max_tokens=48, **self.lite))
        equal(answer.choices[0].message.content, self.expected, "acompletion")

    def litellm_calls_tools_and_obeys_schemas(self):
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        function = {"name": "get_weather", "description": "Get the weather in a city", "parameters": parameters}
        answer = self.complete(WEATHER, tools=[{"type": "function", "function": function}])
        equal(answer.choices[0].message.tool_calls[0].function.name, "get_weather", "call")
        said = self.complete(WEATHER, response_format=City, max_tokens=200).choices[0].message.content
        true(City.model_validate_json(said), said)

    def litellm_raises_the_right_errors(self):
        try:
            self.complete(top_p=2)
        except litellm.BadRequestError as error:
            true("from 0 to 1" in str(error), f"{error}")
        else:
            raise AssertionError("no BadRequestError")


def main(url, key="none"):
    checks = Checks(url.rstrip("/"), key)
    names = [name for name in vars(Checks) if name.startswith(("langchain_", "litellm_"))]
    version = importlib.metadata.version
    return run(checks, names, f"langchain-openai {version('langchain-openai')}, litellm {version('litellm')}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
