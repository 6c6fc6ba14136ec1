"""How long a sealed block is: PADMÉ, so that lengths say little.

PADMÉ (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", PETS 2019) rounds a
length L up so that only its top bits differ from zero: at most 12 % for tiny ones, about
1.6 % at 1 MiB, and O(log log L) bits of leakage. Sealed lengths of 128 KiB and more
come out as multiples of 4 KiB, so they lie aligned in a pack at no further cost.
"""

from __future__ import annotations


def padme(length: int) -> int:
    """Return the padded length for `length` bytes."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    zero_bits = exponent - exponent.bit_length()
    mask = (1 << zero_bits) - 1
    return (length + mask) & ~mask


def stored_length(length: int, incompressible: int = 0) -> int:
    """Return the length that a sealed block of `length` bytes is padded to.

    PADMÉ, with one exception: a full area of a disk, 2^k bytes from 128 KiB on, that does not
    compress. It has just over 2^k bytes, so PADMÉ would add its longest step (3 %) to each of
    them; and either length says just that: a full area that did not compress. It goes up to
    the next multiple of 4 KiB.

    Args:
        length: Bytes with framing and seal.
        incompressible: Bytes of content, where they are stored as they are; else 0.
    """
    if incompressible >= 1 << 17 and incompressible & (incompressible - 1) == 0:
        return -(-length // 4096) * 4096
    return padme(length)
