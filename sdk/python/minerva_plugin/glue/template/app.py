"""What the world of templates exports."""

import json

from componentize_py_types import Err
from minerva_plugin import Refused, schema_text
from plugin import Plugin
from wit_world import exports
from wit_world.exports import template
from wit_world.imports.types import About, Notation

PARTS = {"text": template.Part_Text, "special": template.Part_Special, "tokens": template.Part_Tokens}


class Template(exports.Template):
    def describe(self) -> About:
        about = Plugin.about
        return About(about.version, about.summary, schema_text(about))

    def render(self, chat, args):
        try:
            prompt = Plugin.render(chat, json.loads(args))
        except Refused as refused:
            raise Err(str(refused)) from None
        grammar = prompt.grammar
        if grammar is not None:
            notation, source = grammar
            grammar = (Notation[notation.upper().replace("-", "_")], source)
        return template.Prompt([PARTS[kind](value) for kind, value in prompt.parts], prompt.stops, grammar)
