"""lockscope beside tshark, on captures made for the purpose: `python -m analyzer.benchmark`.

In: the size of the captures and how often to run. Out: two captures, and for each the time,
memory and call counts of both programs.

Theory. Whole processes are compared, start-up and all, in turn on the same file: what a user
waits for. Both must have counted the same calls, or the times mean nothing.

Never: is imported by any other part of the package.
"""
