"""Plugins for Minerva, in Python.

A plugin is a class `Plugin` in `plugin.py`, derived from `Sampler`, `Template` or `Stream`. This is a whole one:

    from minerva_plugin import About, Needs, Sampler

    class Plugin(Sampler):
        about = About("0.1.0", "Keeps the best few candidates.", args={
            "type": "object", "additionalProperties": False,
            "properties": {"k": {"type": "integer", "minimum": 1, "maximum": 64, "default": 8}},
        })
        needs = Needs(can_fork=True, can_rollback=True)

        def __init__(self, args, prompt):
            self.k = args.get("k", 8)

        def pick(self, ids, logits):
            return ids[: self.k]

        def rollback(self, count):
            pass

`step`, `model`, `constraints` and `host` are the host's functions, as the comments of `wit/plugin.wit` say; they are
there in WebAssembly only, and None in a test on this machine. What is an `enum` there is one here: `host.Level.INFO`,
`model.Special.EOT`, and `Finish.PLUGIN` for `step.stop` and `Notation.REGEX` for `constraints.Grammar.compile`, both
by `from wit_world.imports.types import Finish, Notation`, again in WebAssembly only. An error of theirs is an exception
whose text is the host's words. Randomness is `step.random()`, best drawn in `pick`: Python's own is the same in every
request. To refuse a request, raise `Refused` with what is wrong and what would be right; any other exception
is a bug, and fails the one request. What is to be remembered from one request to the next goes into `store`.
"""

import copy
import json
from dataclasses import dataclass, field
from typing import Any, Iterable

try:
    from wit_world.imports import host, model
except ImportError:
    host = model = None
try:
    from wit_world.imports import constraints, step
except ImportError:
    # Samplers have them, and nobody else.
    constraints = step = None
try:
    from wit_world.imports import store as _store
except ImportError:
    # Plugins have it whose plugin.json says so.
    _store = None


class Refused(Exception):
    """The request cannot be served: its words go to the client."""


@dataclass(frozen=True)
class About:
    """What a plugin says of itself: its version, one sentence, and the JSON schema of its arguments."""

    version: str
    summary: str
    args: dict | None = None


@dataclass(frozen=True)
class Needs:
    """What a sampler has to see, and what it can do."""

    #: `plan`: `pick` is never called. `cut`: it sees the best candidates. `full-row`: every logit, if granted.
    tier: str = "cut"
    #: How many of the best candidates `pick` gets, 1 to 4,096.
    cut: int = 64
    #: It calls `step.summarize`, `step.top` or `step.at`.
    reads_row: bool = False
    #: `fork` works: for most it does, by `copy.deepcopy`.
    can_fork: bool = False
    #: `rollback` works.
    can_rollback: bool = False
    #: How many tokens at a time `step.hold` and `step.backtrack` are for; needs `can_rollback`.
    backtrack_max: int = 0


class Sampler:
    """Chooses tokens, or narrows and bends the choice. An object is its part in one answer."""

    about: About
    needs = Needs()

    def __init__(self, args: dict[str, Any], prompt: list[int]):
        """Opens it, with the request's arguments and the tokens of the prompt."""

    def advance(self, committed: list[int]) -> None:
        """Tells of tokens that now are part of the answer; commands are given here or in `pick`."""

    def pick(self, ids: list[int], logits: list[float]) -> int | list[int] | None:
        """Chooses: a token; a list of candidates, one of which the host draws; or None for whatever comes next."""

    def fork(self) -> "Sampler":
        """A second one that goes on as this one would: a deep copy. Sets and grammars cannot be copied so: make it yourself."""
        return copy.deepcopy(self)

    def rollback(self, count: int) -> None:
        """Takes back the last `count` committed tokens."""
        raise Refused("this sampler cannot take tokens back")

    def close(self) -> Any | None:
        """What is returned goes into the response's metadata, as JSON."""


@dataclass
class Prompt:
    """What a template makes: `Prompt().special("<|im_start|>user\\n").text(words)`."""

    parts: list[tuple[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    grammar: tuple[str, str] | None = None

    def special(self, text: str) -> "Prompt":
        """Adds the template's own words, in which the text of special tokens means those tokens."""
        self.parts.append(("special", text))
        return self

    def text(self, text: str) -> "Prompt":
        """Adds what a stranger wrote: what looks like markup in it stays text."""
        self.parts.append(("text", text))
        return self

    def tokens(self, ids: list[int]) -> "Prompt":
        """Adds tokens, used as they are."""
        self.parts.append(("tokens", ids))
        return self

    def stop(self, text: str) -> "Prompt":
        """Adds a text that ends the answer."""
        self.stops.append(text)
        return self

    def obey(self, notation: str, source: str) -> "Prompt":
        """Makes the answer obey a grammar: `json-schema`, `regex`, `lark` or `gbnf`, and its source."""
        self.grammar = (notation, source)
        return self


class Template:
    """Makes the prompt of a conversation."""

    about: About

    @staticmethod
    def render(chat: Any, args: dict[str, Any]) -> Prompt:
        """Makes the prompt. `chat` has `messages`, `tools`, `variables` and `continue_last`, as the WIT says."""
        raise NotImplementedError


def text_of(message: Any) -> str:
    """The text of a message of a conversation."""
    return "".join(content.value for content in message.content)


@dataclass(frozen=True)
class Reasoning:
    """Text of the thinking before the answer."""

    text: str


@dataclass(frozen=True)
class Meta:
    """Something to tell the client beside the text; becomes JSON."""

    value: Any


@dataclass(frozen=True)
class Tool:
    """A piece of a call of a tool."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Stop:
    """The answer ends here: `stop`, `length`, `filter` or `plugin`."""

    reason: str = "stop"


Event = str | Reasoning | Meta | Tool | Stop


class Stream:
    """Turns the text of an answer, as it comes, into events. An object is its part in one answer.

    However an answer is cut into chunks, the events, with neighbours of a kind joined, have to be the same: keep back
    what cannot be decided yet.
    """

    about: About

    def __init__(self, args: dict[str, Any]):
        """Opens it, with the request's arguments."""

    def push(self, text: str, tokens: list[int]) -> Iterable[Event]:
        """Takes more of the answer, and yields what can already be said; a plain `str` is text of the answer."""
        raise NotImplementedError

    def close(self, reason: str) -> Iterable[Event]:
        """The answer is complete: what was kept back comes out."""
        return ()


def begun_at_end(text: str, looked_for: str) -> int:
    """How many characters at the end of a text may be the beginning of what is looked for."""
    lengths = range(min(len(text), len(looked_for) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(looked_for[:length])), 0)


class Store:
    """What a plugin remembers from one request to the next: like a dict of `str` to `bytes` that cannot be listed.

    It is there in a plugin whose `plugin.json` says `"store": true`. All requests share it, side by side. It is gone when
    the plugin is taken out, and when the server ends. What the host refuses, for want of room, raises `Refused`.
    """

    def __getitem__(self, key: str) -> bytes:
        value = self._host.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The bytes of a key, or the default."""
        value = self._host.get(key)
        return default if value is None else value

    def __contains__(self, key: str) -> bool:
        return self._host.get(key) is not None

    def __setitem__(self, key: str, value: bytes) -> None:
        self.set(key, value)

    def set(self, key: str, value: bytes, seconds: float | None = None) -> None:
        """Sets a key, for some seconds or for good."""
        _said(lambda: self._host.set(key, value, _lasting(seconds)))

    def add(self, key: str, by: int = 1, seconds: float | None = None) -> int:
        """Adds to the number that a key has, 0 at first, and returns the sum. No other request comes between."""
        return _said(lambda: self._host.add(key, by, _lasting(seconds)))

    def __delitem__(self, key: str) -> None:
        """Forgets a key, which need not be there."""
        self._host.remove(key)

    @property
    def _host(self):
        if _store is None:
            raise RuntimeError('there is no store in this plugin: plugin.json has to say "store": true')
        return _store


store = Store()


def _lasting(seconds: float | None) -> int:
    """In milliseconds, where 0 is for good."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _said(call):
    """Calls the host, whose error is what it says."""
    try:
        return call()
    except Exception as error:
        if isinstance(words := getattr(error, "value", None), str):
            raise Refused(words) from None
        raise


def schema_text(about: About) -> str:
    """The JSON schema of a plugin's arguments, as text."""
    return "" if about.args is None else json.dumps(about.args)
