"""A sampler: sees the best candidates of every step, and says which of them may be chosen."""

import bisect
import math

from minerva_plugin import About, Needs, Sampler


class Plugin(Sampler):
    about = About(
        version="0.1.0",
        summary="Keeps the tokens that are probable enough beside the best one.",
        args={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "p": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0.1,
                    "description": "Keep tokens at least this probable, relative to the best one.",
                }
            },
        },
    )
    # The best 64 candidates. Nothing is remembered between tokens, so forks and rollbacks are easy.
    needs = Needs(cut=64, can_fork=True, can_rollback=True)

    def __init__(self, args, prompt):
        p = args.get("p", 0.1)
        self.margin = math.log(p) if p > 0 else -math.inf

    def pick(self, ids, logits):
        least = logits[0] + self.margin
        return ids[: bisect.bisect_right(logits, -least, key=lambda logit: -logit)]

    def rollback(self, count):
        pass
