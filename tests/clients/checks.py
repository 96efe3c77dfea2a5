"""What the scripts of this folder share: how a mismatch is raised, and how the checks are run."""

import traceback


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def true(value, what):
    if not value:
        raise AssertionError(what)


def run(checks, names, package):
    """Runs the named methods of `checks`, prints what came of each, and returns how many failed."""
    failed = 0
    for name in names:
        try:
            getattr(checks, name)()
            print(f"ok      {name.replace('_', ' ')}")
        except AssertionError as error:
            failed += 1
            print(f"FAILED  {name.replace('_', ' ')}: {error}")
        except Exception:
            failed += 1
            print(f"FAILED  {name.replace('_', ' ')}:\n{traceback.format_exc()}")
    print(f"{package}: {len(names) - failed} of {len(names)} checks hold")
    return failed
