"""How the C library treats the memory that a training step frees."""

import ctypes

# Names of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc allows on 64 bits
LARGEST_TRIM_THRESHOLD = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have this process keep freed memory for the next step.

    A step frees the activations of all peers at its end. glibc gives such a block back to the
    system, which then clears and maps every page anew in the next step; on a CPU this can cost
    a sixth of the step. The process keeps its peak for as long as it lives.

    Returns whether the C library took it; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        and mallopt(M_TRIM_THRESHOLD, LARGEST_TRIM_THRESHOLD)
    )
