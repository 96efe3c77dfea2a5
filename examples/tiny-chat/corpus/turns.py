"""What a skill returns."""

from dataclasses import dataclass, field


@dataclass
class Turn:
    """One request with its answer. `think` is the reasoning that a thinking answer opens with.

    A turn that calls tools has `call` (name and arguments), then `result` (the tool's text) and `answer`
    (what the assistant says about the result). `tools` are the tools that the request needs to see.
    """
    skill: str
    user: str
    answer: str = ""
    think: str = ""
    calls: list = field(default_factory=list)
    results: list = field(default_factory=list)
    tools: list = field(default_factory=list)
    system: str = ""
    # What the evaluation checks: strings that a right answer contains, or patterns of which it matches one.
    keys: list = field(default_factory=list)
    accept: list = field(default_factory=list)
    label: str = ""  # the row of the table, where it is not the skill
