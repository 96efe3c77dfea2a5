from minerva_plugin import About, Needs, Sampler, constraints, step


class Plugin(Sampler):
    about = About(
        version="1.0.0",
        summary="Says no digits, repeats itself less, and is calmer where it is unsure.",
        args={"type": "object", "additionalProperties": False},
    )
    needs = Needs(cut=64, reads_row=True, can_fork=True, can_rollback=True)

    def __init__(self, args, prompt):
        self.words = constraints.TokenSet.matching(r".*\d.*")
        self.words.invert()
        self.steps = 0

    def advance(self, committed):
        self.steps += len(committed)
        step.allow(self.words)

    def pick(self, ids, logits):
        latest = step.history(8)
        step.bias(latest, [-1.0] * len(latest))
        row = step.summarize()
        step.temperature(0.5 if row.entropy > 2 else 1.0)

    def fork(self):
        other = Plugin({}, [])
        other.steps = self.steps
        return other

    def rollback(self, count):
        self.steps -= count

    def close(self):
        return {"steps": self.steps}
