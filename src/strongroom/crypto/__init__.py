"""Keys and sealing: no I/O, and no file format beyond the lengths given here.

    keys        key types that cannot be mixed or printed
    random      the one source of randomness
    labels      domain separation, the same way everywhere
    content     hashes that name content
    kdf         a password becomes a seed; a seed or key becomes further keys
    aead        sealing blocks and single values
    hpke        sealing to a public half
    signing     the server's identity, and who vouches for it
    recipients  whom a chain key is wrapped to, and what unwraps it
    envelope    chain keys, links between them, the keys of a session
    passwords   which passwords are strong enough

Nothing outside this package imports `cryptography`.
"""
