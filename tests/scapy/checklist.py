"""The list of conformance checks: what each says, where that is written, and how it is shown."""

CHECKS = []


class Check:
    """One line of docs/conformance.md."""

    def __init__(self, id, source, says, cases=None, tests=(), note=None, later=None):
        self.id = id
        self.source = source  # RFC and section
        self.says = says
        self.cases = cases  # a function that returns or yields Cases
        self.tests = tests  # Rust tests that show it: (file, function)
        self.note = note  # what the cases leave out
        self.later = later  # why there is nothing to check yet
        self.heading = self.unmet = None
        CHECKS.append(self)

    def named_cases(self):
        """Its cases by a name that is a directory's."""
        if self.cases is None:
            return
        made = self.cases()
        for index, case in enumerate([made] if hasattr(made, "inputs") else made):
            yield f"{self.id}-{index + 1}", case


def check(id, source, says, **more):
    """Marks a function that returns a Case or several, all of which must hold."""

    def register(function):
        Check(id, source, says, cases=function, **more)
        return function

    return register


def shown_by(id, source, says, *tests, **more):
    """A check that no replay can make; Rust tests show it."""
    Check(id, source, says, tests=tests, **more)


def later(id, source, says, why):
    """A check of something that is not there yet."""
    Check(id, source, says, later=why)
