"""How good the findings are, on captures whose truth is known: `python -m analyzer.score FOLDER...`.

In: folders of captures, each with its expectation (`NAME.expect.json`) beside it. Out: what was missed, what
was a false alarm, and both by code.

Theory. `expectations` has the rules, for this command and for the tests alike: one judge.

Never: is imported by any other part of the package.
"""
