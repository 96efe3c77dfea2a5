"""Renders conversations with the model's own template, exactly as a server does."""

import json
from pathlib import Path

import jinja2

TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()


def _json(value):
    """What minijinja's and llama.cpp's `tojson` write for the values that occur here."""
    return json.dumps(value, ensure_ascii=False)


_environment = jinja2.Environment()
_environment.filters["tojson"] = _json
_template = _environment.from_string(TEMPLATE)


def render(messages, tools=None, thinking=False, add_generation_prompt=False):
    return _template.render(messages=messages, tools=tools or [], enable_thinking=thinking, add_generation_prompt=add_generation_prompt)
