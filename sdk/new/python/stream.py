"""A stream processor: turns the text of an answer, as it comes, into events."""

from minerva_plugin import About, Stream, begun_at_end


class Plugin(Stream):
    about = About(
        version="0.1.0",
        summary="Replaces a text by another, also where it comes in pieces.",
        args={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "find": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 256,
                    "default": "colour",
                    "description": "What is replaced.",
                    "examples": ["owl", "aab"],
                },
                "replacement": {
                    "type": "string",
                    "maxLength": 256,
                    "default": "color",
                    "description": "What stands in its place.",
                },
            },
        },
    )

    def __init__(self, args):
        self.find = args.get("find", "colour")
        self.replacement = args.get("replacement", "color")
        # What may be the beginning of what is looked for: it is kept back until that is clear.
        self.kept = ""

    def push(self, text, tokens):
        *whole, rest = (self.kept + text).split(self.find)
        for said in whole:
            yield said + self.replacement
        sure = len(rest) - begun_at_end(rest, self.find)
        self.kept = rest[sure:]
        yield rest[:sure]

    def close(self, reason):
        yield self.kept
