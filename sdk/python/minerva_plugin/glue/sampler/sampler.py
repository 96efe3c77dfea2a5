"""The session of a sampler: a `Plugin` behind the interface."""

import json

from componentize_py_types import Err
from minerva_plugin import Refused
from plugin import Plugin
from wit_world.exports.sampler import Choice_Host, Choice_Only, Choice_Token


class Session:
    def __init__(self, plugin):
        self.plugin = plugin

    @classmethod
    def open(cls, args, prompt):
        try:
            return cls(Plugin(json.loads(args), prompt))
        except Refused as refused:
            raise Err(str(refused)) from None

    def advance(self, committed):
        self.plugin.advance(committed)

    def pick(self, cut):
        choice = self.plugin.pick(cut.ids, cut.logits)
        if choice is None:
            return Choice_Host()
        if isinstance(choice, int):
            return Choice_Token(choice)
        return Choice_Only(list(choice))

    def fork(self):
        try:
            return type(self)(self.plugin.fork())
        except Refused as refused:
            raise Err(str(refused)) from None

    def rollback(self, count):
        try:
            self.plugin.rollback(count)
        except Refused as refused:
            raise Err(str(refused)) from None

    def close(self):
        meta = self.plugin.close()
        return None if meta is None else json.dumps(meta)
