"""What schemathesis cannot know of the server: words of the formats that the document names, and what a request may be
refused for although it is as its schema says."""

import re

import schemathesis
from hypothesis import strategies

schemathesis.openapi.format("gbnf", strategies.sampled_from(['root ::= "a" | "b"', "root ::= [0-9]+", "start: /[a-c]+/"]))
schemathesis.openapi.format("regular-expression", strategies.sampled_from(["[0-9]+", "a|b", "(yes|no)!"]))

# What depends on other fields, on the model or on what is written inside a text: no schema says it.
UNSAYABLE = re.compile(
    "|".join(
        [
            # a grammar that cannot be obeyed, or two of them
            r"^(response_format|json_schema|grammar|guided_\w+|text)\b",
            # tools that are no functions, or none where one is demanded
            r"^(tools|tool_choice)\b",
            # a role or an order that the template does not know; fields that go with a type; too long for the context
            r"^(messages|system|input|prompt|input_prefix|instructions|thinking)\b",
            r"^(max_tokens|max_completion_tokens|max_output_tokens|n_predict)$",
            # tokens that the model does not have
            r"^(logit_bias|tokens)\b",
            # texts that are counted in bytes, where a schema counts characters
            r"^(dry_sequence_breakers|stop)\b",
            # plugins that are not there
            r"^minerva\.(template|samplers|stream)\b",
            # fields that exclude each other
            r"^(top_logprobs|documents|texts|n|best_of|echo|continue_final_message)$",
            r"^dimensions$",
        ]
    )
)


@schemathesis.check
def refusals_are_of_what_no_schema_can_say(ctx, response, case):
    if response.status_code != 400 or not case.meta.generation.mode.is_positive:
        return
    error = response.json()["error"]
    # Anthropic's errors have no `param`; ours name it in the message, or are of the template, the
    # context or a plugin.
    if re.match(r"the model's chat template failed|the prompt has \d+ tokens|there is no (sampler|template|stream processor) ", error["message"]):
        return
    # To a JSON schema 2.0 is a whole number, to us it is a fraction.
    if re.search(r"must be (a whole number|a string, a token or).*, not -?\d+\.0$", error["message"]):
        return
    named = re.search(r"`([^`]+)`", error["message"])
    param = error.get("param") or (named.group(1) if named else "")
    if not UNSAYABLE.search(param):
        raise AssertionError(f"refused for {param!r}: {error['message']}")


@schemathesis.check
def errors_of_the_server_are_honest(ctx, response, case):
    if response.status_code < 500:
        return
    kind = response.json()["error"]["type"]
    body = case.body if isinstance(case.body, dict) else {}
    minerva = body.get("minerva") if isinstance(body.get("minerva"), dict) else {}
    honest = {
        # Anthropic's dialect has no word of its own for it.
        501: kind in ("not_supported_error", "invalid_request_error"),
        # Who asks for an answer within a millionth of a second gets what they asked for.
        504: kind == "timeout_error" and minerva.get("timeouts") is not None,
    }
    if not honest.get(response.status_code, False):
        raise AssertionError(f"{response.status_code}: {response.text}")
