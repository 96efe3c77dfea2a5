"""Talks to a running server with the `anthropic` package, as its users' programs do.

    python anthropic_messages.py http://127.0.0.1:8080 [API key]

Expects one model, and the plugin `redact`. Every mismatch is printed; the exit status is how many there were.
"""

import sys

import anthropic

from checks import equal, run, true

QUESTION = [{"role": "user", "content": "What is a plugin?"}]
# The package no longer has an argument for the temperature; every field of the server goes through here.
GREEDY = {"max_tokens": 48, "extra_body": {"temperature": 0}}
TOOL = {
    "name": "get_weather",
    "description": "Get the weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Checks:
    """Each method is a check; its name says what holds."""

    def __init__(self, url, key):
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=120)

    def ask(self, **more):
        return self.client.messages.create(model="any", **{"messages": QUESTION, **GREEDY, **more})

    def a_message_is_answered(self):
        answer = self.ask()
        true(answer.id.startswith("msg_"), answer.id)
        equal([block.type for block in answer.content], ["text"], "blocks")
        true("WebAssembly" in answer.content[0].text, answer.content[0].text)
        equal(answer.stop_reason, "end_turn", "stop reason")
        true(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, f"usage {answer.usage}")

    def a_stream_adds_up_to_the_message(self):
        whole = self.ask()
        with self.client.messages.stream(model="any", messages=QUESTION, **GREEDY) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        equal(text, whole.content[0].text, "text")
        equal(final.content[0].text, whole.content[0].text, "the message gathered from the stream")
        equal(final.stop_reason, whole.stop_reason, "stop reason")
        equal(final.usage.output_tokens, whole.usage.output_tokens, "output tokens")

    def limits_and_stop_sequences_end_it(self):
        equal(self.ask(max_tokens=3).stop_reason, "max_tokens", "stop reason")
        answer = self.ask(stop_sequences=["WebAssembly"])
        equal((answer.stop_reason, answer.stop_sequence), ("stop_sequence", "WebAssembly"), "stop")
        true("WebAssembly" not in answer.content[0].text, answer.content[0].text)

    def tokens_are_counted(self):
        count = self.client.messages.count_tokens(model="any", messages=QUESTION).input_tokens
        usage = self.ask(max_tokens=1).usage
        equal(count, usage.input_tokens + usage.cache_read_input_tokens, "tokens of the prompt")

    def tools_are_called_and_answered(self):
        question = {"role": "user", "content": "What is the weather in Paris?"}
        answer = self.ask(messages=[question], tools=[TOOL])
        equal(answer.stop_reason, "tool_use", f"stop reason of {answer.content}")
        call = answer.content[-1]
        equal((call.type, call.name, call.input), ("tool_use", "get_weather", {"city": "Paris"}), "call")
        with self.client.messages.stream(model="any", messages=[question], tools=[TOOL], **GREEDY) as stream:
            streamed = stream.get_final_message().content[-1]
        equal((streamed.name, streamed.input), (call.name, call.input), "the call gathered from the stream")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": '{"temperature": 21, "condition": "sunny"}'}
        turns = [question, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        text = self.ask(messages=turns, tools=[TOOL]).content[0].text
        true("21" in text and "sunny" in text, text)

    def thinking_is_a_block_of_its_own(self):
        thinking = {"type": "enabled", "budget_tokens": 1024}
        answer = self.ask(messages=[{"role": "user", "content": "What is 3 + 4?"}], thinking=thinking, max_tokens=2000)
        equal([block.type for block in answer.content], ["thinking", "text"], f"blocks of {answer.content}")

    def plugins_are_chosen_by_extra_body(self):
        redact = {"stream": [{"id": "redact", "args": {"patterns": ["[a-z]"], "replacement": "#"}}]}
        text = self.ask(extra_body={"temperature": 0, "minerva": redact}).content[0].text
        true(not any(letter.islower() for letter in text), text)

    def mistakes_raise_the_right_errors(self):
        for more, words in [
            ({"messages": []}, "empty"),
            ({"extra_body": {"temperature": 1000}}, "from 0 to 100"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "`user` or `assistant`"),
        ]:
            try:
                self.ask(**more)
            except anthropic.BadRequestError as error:
                equal(error.body["type"], "error", "type")
                equal(error.body["error"]["type"], "invalid_request_error", "type of the error")
                true(words in error.body["error"]["message"], f"{words!r} in {error.body}")
            else:
                raise AssertionError(f"no error for {more}")


def main(url, key="none"):
    checks = Checks(url.rstrip("/"), key)
    names = [name for name in vars(Checks) if not name.startswith("_") and name != "ask"]
    return run(checks, names, f"anthropic {anthropic.__version__}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
