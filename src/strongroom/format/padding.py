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


def fitting(length: int, overhead: int) -> int:
    """Return the longest payload that, with `overhead` bytes around it, pads to `length` at most.

    A block of a disk that does not compress has exactly `length` bytes, a power of two.
    With its framing it is padded by a whole step (3 % at 1 MiB); cut to what this returns,
    framing and all fill `length` exactly.

    Returns:
        The payload's length; 0 where not even the overhead fits.
    """
    if length < 2:
        return max(0, length - overhead)
    exponent = length.bit_length() - 1
    zero_bits = exponent - exponent.bit_length()
    return max(0, (length >> zero_bits << zero_bits) - overhead)
