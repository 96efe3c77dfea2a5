"""The session of a stream processor: a `Plugin` behind the interface."""

import json

from componentize_py_types import Err
from minerva_plugin import Meta, Reasoning, Refused, Stop, Tool
from plugin import Plugin
from wit_world.exports import streaming as wit
from wit_world.imports.types import Finish


def event(event):
    match event:
        case str():
            return wit.Event_Text(event)
        case Reasoning(text):
            return wit.Event_Reasoning(text)
        case Tool(index, arguments, id, name):
            return wit.Event_Tool(wit.ToolDelta(index, id, name, arguments))
        case Meta(value):
            return wit.Event_Meta(json.dumps(value))
        case Stop(reason):
            return wit.Event_Stop(Finish[reason.upper()])
    raise TypeError(f"{event!r} is no event: yield str, Reasoning, Tool, Meta or Stop")


class Session:
    def __init__(self, plugin):
        self.plugin = plugin

    @classmethod
    def open(cls, args):
        try:
            return cls(Plugin(json.loads(args)))
        except Refused as refused:
            raise Err(str(refused)) from None

    def push(self, chunk):
        return [event(said) for said in self.plugin.push(chunk.text, chunk.tokens)]

    def close(self, reason):
        return [event(said) for said in self.plugin.close(reason.name.lower())]
