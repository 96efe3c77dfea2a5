"""Talks to a running server with the `openai` package, as its users' programs do.

    python openai_chat.py http://127.0.0.1:8080 [API key]

Expects one model, and the plugins `min-p`, `persona` and `redact`. Every mismatch is printed; the exit status is
how many there were.
"""

import asyncio
import json
import sys

import openai
import pydantic

from checks import equal, run, true

QUESTION = [{"role": "user", "content": "What is a plugin?"}]
GREEDY = {"temperature": 0, "max_tokens": 48}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# A sampler that leaves one candidate, a template, and a processor that leaves no lower-case letter.
SAMPLER = {"samplers": [{"id": "min-p", "args": {"p": 1.0}}]}
TEMPLATE = {"template": {"id": "persona", "args": {"persona": "You are a pirate."}}}
PROCESSOR = {"stream": [{"id": "redact", "args": {"patterns": ["[a-z]"], "replacement": "#"}}]}


def joined(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


class Checks:
    """Each method is a check; its name says what holds."""

    def __init__(self, url, key):
        self.options = {"base_url": f"{url}/v1", "api_key": key, "max_retries": 0, "timeout": 120}
        self.client = openai.OpenAI(**self.options)
        self.model = self.client.models.list().data[0].id

    def ask(self, **more):
        return self.client.chat.completions.create(model=self.model, **{"messages": QUESTION, **GREEDY, **more})

    def text(self, **more):
        return self.ask(**more).choices[0].message.content

    def models_are_listed_and_found(self):
        models = self.client.models.list().data
        equal(len(models), 1, "models")
        equal(self.client.models.retrieve(self.model).id, self.model, "the model by its id")
        true(models[0].created > 1_600_000_000, f"a time of creation, not {models[0].created}")

    def a_chat_is_answered(self):
        answer = self.ask()
        choice = answer.choices[0]
        true(answer.id.startswith("chatcmpl-"), answer.id)
        equal(answer.object, "chat.completion", "object")
        equal(answer.model, self.model, "model")
        equal(choice.message.role, "assistant", "role")
        true(choice.message.content.strip(), "an answer that is not empty")
        true(choice.finish_reason in ("stop", "length"), f"finish_reason {choice.finish_reason}")
        usage = answer.usage
        equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")
        true(0 < usage.completion_tokens <= GREEDY["max_tokens"], f"completion_tokens {usage.completion_tokens}")
        true(usage.prompt_tokens_details.cached_tokens >= 0, "cached_tokens")

    def a_streamed_chat_says_the_same(self):
        with self.ask(stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
        equal(chunks[0].choices[0].delta.role, "assistant", "role of the first chunk")
        equal(joined(chunks), self.text(), "streamed text")
        finished = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        equal(len(finished), 1, "chunks that say why it ended")
        equal(chunks[-1].choices, [], "choices of the usage chunk")
        true(chunks[-1].usage.completion_tokens > 0, "usage in the last chunk")
        true(all(chunk.usage is None for chunk in chunks[:-1]), "no usage before the last chunk")
        equal({chunk.id for chunk in chunks}, {chunks[0].id}, "one id for all chunks")

    def the_helper_for_streams_puts_the_answer_together(self):
        with self.client.chat.completions.stream(model=self.model, messages=QUESTION, **GREEDY) as stream:
            for _ in stream:
                pass
            whole = stream.current_completion_snapshot
        equal(whole.choices[0].message.content, self.text(), "what the helper put together")

    def sixteen_async_streams_run_side_by_side(self):
        async def one(client):
            stream = await client.chat.completions.create(
                model=self.model, messages=QUESTION, stream=True, **GREEDY
            )
            return joined([chunk async for chunk in stream])

        async def all_of_them():
            async with openai.AsyncOpenAI(**self.options) as client:
                return await asyncio.gather(*(one(client) for _ in range(16)))

        equal(set(asyncio.run(all_of_them())), {self.text()}, "texts of 16 streams")

    def an_abandoned_stream_does_no_harm(self):
        for _ in range(3):
            with self.ask(stream=True, max_tokens=400) as stream:
                next(iter(stream))
        true(self.text(), "an answer afterwards")

    def content_parts_are_text(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        equal(self.text(messages=parts), self.text(), "content in parts")

    def max_tokens_and_stop_end_the_answer(self):
        cut = self.ask(max_tokens=3)
        equal((cut.usage.completion_tokens, cut.choices[0].finish_reason), (3, "length"), "three tokens")
        equal(self.text(max_tokens=openai.omit, max_completion_tokens=3), cut.choices[0].message.content, "both names")
        whole = self.text()
        middle = whole[len(whole) // 2 : len(whole) // 2 + 3]
        stopped = self.ask(stop=[middle])
        equal(stopped.choices[0].message.content, whole[: whole.index(middle)], f"up to {middle!r}")
        equal(stopped.choices[0].finish_reason, "stop", "finish_reason at a stop text")

    def seeds_reproduce_and_n_counts(self):
        def texts(**more):
            answer = self.ask(temperature=1.5, n=3, max_tokens=16, **more)
            equal([choice.index for choice in answer.choices], [0, 1, 2], "indices")
            return [choice.message.content for choice in answer.choices], answer.minerva["seed"]

        first, seed = texts(seed=11)
        equal(seed, 11, "the reported seed")
        equal(texts(seed=11)[0], first, "texts of the same seed")
        drawn, seed = texts()
        equal(texts(seed=seed)[0], drawn, "texts of a seed that was drawn")

    def logprobs_have_openai_form(self):
        tokens = self.ask(logprobs=True, top_logprobs=2, max_tokens=4).choices[0].logprobs.content
        true(tokens, "log-probabilities")
        for token in tokens:
            equal(len(token.top_logprobs), 2, "top_logprobs")
            true(token.logprob <= 0, f"logprob {token.logprob}")
            equal(bytes(token.bytes).decode(errors="replace"), token.token, "bytes of a token")
            true(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob, "best first")

    def logit_bias_bans(self):
        with_ids = self.ask(logprobs=True, max_tokens=1).choices[0].logprobs.content[0]
        banned = self.ask(logprobs=True, max_tokens=1, logit_bias={str(with_ids.id): -100})
        true(banned.choices[0].logprobs.content[0].id != with_ids.id, "another token than the banned one")

    def plugins_are_listed(self):
        listed = self.client.get("/plugins", cast_to=object)
        kinds = {plugin["id"]: plugin["kinds"] for plugin in listed["data"]}
        for name, kind in [("min-p", "sampler"), ("persona", "template"), ("redact", "stream")]:
            true(kind in kinds.get(name, []), f"{name} is a {kind}; listed are {kinds}")

    def reports(self, answer):
        true(all(report["fault"] is None for report in answer.minerva["plugins"]), f"no faults: {answer.minerva}")
        return [(report["kind"], report["name"]) for report in answer.minerva["plugins"]]

    def extra_body_chooses_a_sampler(self):
        answer = self.ask(temperature=2, extra_body={"minerva": SAMPLER})
        equal(answer.choices[0].message.content, self.text(), "what min-p 1 leaves, whatever the temperature")
        equal(self.reports(answer), [("sampler", "min-p")], "reports")

    def extra_body_chooses_a_template(self):
        answer = self.ask(extra_body={"minerva": TEMPLATE})
        equal(self.reports(answer), [("template", "persona")], "reports")
        true(answer.usage.prompt_tokens != self.ask().usage.prompt_tokens, "another prompt than the model's own")

    def extra_body_chooses_a_stream_processor(self):
        answer = self.ask(extra_body={"minerva": PROCESSOR})
        expected = "".join("#" if "a" <= letter <= "z" else letter for letter in self.text())
        equal(answer.choices[0].message.content, expected, "redacted text")
        equal(self.reports(answer), [("stream", "redact")], "reports")

    def extra_body_chooses_all_three_in_a_stream(self):
        everything = {**SAMPLER, **TEMPLATE, **PROCESSOR}
        with self.ask(stream=True, extra_body={"minerva": everything}) as stream:
            chunks = list(stream)
        equal(joined(chunks), self.text(extra_body={"minerva": everything}), "streamed text")
        expected = [("template", "persona"), ("sampler", "min-p"), ("stream", "redact")]
        equal(self.reports(chunks[-1]), expected, "reports of the last chunk")

    def completions_continue_prompts(self):
        answer = self.client.completions.create(model=self.model, prompt=["One, two,", "Once upon"], **GREEDY)
        equal([choice.index for choice in answer.choices], [0, 1], "indices")
        stream = self.client.completions.create(model=self.model, prompt="One, two,", stream=True, **GREEDY)
        streamed = "".join(choice.text for chunk in stream for choice in chunk.choices)
        equal(streamed, answer.choices[0].text, "streamed text")

    def tools_are_called_and_answered(self):
        question = {"role": "user", "content": "What is the weather in Paris?"}
        choice = self.ask(messages=[question], tools=[TOOL]).choices[0]
        equal((choice.finish_reason, choice.message.content), ("tool_calls", None), f"end of {choice}")
        call = choice.message.tool_calls[0]
        equal((call.type, call.function.name), ("function", "get_weather"), "call")
        equal(json.loads(call.function.arguments), {"city": "Paris"}, "arguments")
        stream = self.client.chat.completions.stream(model=self.model, messages=[question], tools=[TOOL], **GREEDY)
        with stream as events:
            streamed = events.get_final_completion().choices[0].message.tool_calls[0]
        equal(streamed.function.arguments, call.function.arguments, "arguments gathered from the stream")
        first = next(c.choices[0].delta.tool_calls[0] for c in self.ask(messages=[question], tools=[TOOL], stream=True) if c.choices[0].delta.tool_calls)
        equal((bool(first.id), first.function.name, first.function.arguments), (True, "get_weather", ""), "first delta")
        result = {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "condition": "sunny"}'}
        text = self.text(messages=[question, choice.message, result], tools=[TOOL])
        true("21" in text and "sunny" in text, text)

    def answers_are_parsed_by_a_schema(self):
        class City(pydantic.BaseModel):
            # With bounds: a small model may go on with letters and digits for ever.
            city: str = pydantic.Field(max_length=20)
            degrees: int = pydantic.Field(ge=-50, le=60)

        question = [{"role": "user", "content": "What is the weather in Paris?"}]
        parse = self.client.chat.completions.parse
        answer = parse(model=self.model, messages=question, response_format=City, temperature=0, max_tokens=200)
        true(isinstance(answer.choices[0].message.parsed, City), f"{answer.choices[0]}")

    def thinking_is_told_apart(self):
        think = {"chat_template_kwargs": {"enable_thinking": True}}
        message = self.ask(extra_body=think).choices[0].message
        true(message.reasoning_content and "think>" not in message.content, f"{message}")

    def responses_are_answered_and_gone_on_from(self):
        create = lambda **more: self.client.responses.create(model=self.model, temperature=0, max_output_tokens=48, **more)
        first = create(input="What is a plugin?")
        equal(first.status, "completed", "status")
        equal(first.output_text, self.text(), "the text that a chat has")
        equal(self.client.responses.retrieve(first.id).output_text, first.output_text, "the response retrieved")
        second = create(input="Hello!", previous_response_id=first.id)
        true(second.usage.input_tokens > first.usage.total_tokens, "the conversation before is part of the prompt")
        with self.client.responses.stream(model=self.model, input="What is a plugin?", temperature=0) as stream:
            kinds = [event.type for event in stream]
            equal(stream.get_final_response().output_text, first.output_text, "the text gathered from the stream")
        equal((kinds[0], kinds[-1]), ("response.created", "response.completed"), "first and last event")
        tool = {"type": "function", "strict": False, **TOOL["function"]}
        call = create(input="What is the weather in Paris?", tools=[tool]).output[-1]
        equal((call.type, call.name, json.loads(call.arguments)), ("function_call", "get_weather", {"city": "Paris"}), "call")
        self.client.responses.delete(first.id)

    def mistakes_raise_the_right_errors(self):
        def raises(kind, param, words, **more):
            try:
                self.ask(**more)
            except kind as error:
                equal(error.param, param, f"param of {error}")
                true(words in error.message, f"{words!r} in {error.message!r}")
            else:
                raise AssertionError(f"no {kind.__name__} for {more}")

        bad = openai.BadRequestError
        raises(bad, "messages", "empty", messages=[])
        raises(bad, "temperature", "number", temperature="hot")
        raises(bad, "top_p", "from 0 to 1", top_p=2)
        raises(bad, "messages", "context", messages=[{"role": "user", "content": "many words " * 20_000}])
        raises(bad, "minerva.samplers[0].id", "min-p", extra_body={"minerva": {"samplers": [{"id": "min_p"}]}})
        raises(bad, "minerva.template.id", "is a sampler", extra_body={"minerva": {"template": {"id": "min-p"}}})
        raises(bad, "minerva.sampler", "expected", extra_body={"minerva": {"sampler": []}})
        wrong = {"minerva": {"samplers": [{"id": "min-p", "args": {"p": 7}}]}}
        raises(bad, "minerva.samplers[0].args.p", "min-p", extra_body=wrong)
        raises(bad, "minerva.samplers[0].args.p", "min-p", extra_body=wrong, stream=True)
        try:
            self.client.post("/nowhere", body={}, cast_to=object)
        except openai.NotFoundError as error:
            true("/v1/nowhere" in error.message, f"the path in {error.message!r}")
        else:
            raise AssertionError("no NotFoundError for a path that is not there")


def main(url, key="none"):
    checks = Checks(url.rstrip("/"), key)
    names = [name for name in vars(Checks) if not name.startswith("_") and name not in ("ask", "text", "reports")]
    return run(checks, names, f"openai {openai.__version__}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
