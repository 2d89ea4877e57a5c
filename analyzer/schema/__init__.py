"""The declaration language for XDR (RFC 4506) and the walkers over a declaration.

`xdr` is the language, `program` names RPC procedures, and each of `columns`, `scalar`,
`batch`, `encode` and `reference` derives one thing from a declaration: column names, one
decoded message, a batch of them, bytes, and a page of the reference.
"""
