"""Writes known_answers.json: log2 P[more than `above` of `draws` are marked], by exact integers."""
import json
from math import comb, log2


def log2_tail(size, marked, draws, above):
    ways = sum(
        comb(marked, i) * comb(size - marked, draws - i)
        for i in range(above + 1, min(draws, marked) + 1)
        if draws - i <= size - marked
    )
    everything = comb(size, draws)
    # 128 bits of the quotient, so that the one logarithm loses nothing.
    shift = max(0, 128 + everything.bit_length() - ways.bit_length())
    return log2((ways << shift) // everything) - shift


CASES = [
    (size, marked, draws, above)
    for size in (100, 1000, 10_000, 100_000, 1_000_000, 4_000_000_000)
    for fraction in (0.01, 0.1, 0.33)
    for marked in [int(size * fraction)]
    for draws, above in ((67, 25), (93, 60), (90, 0), (90, 8))
    if draws <= size and above < min(draws, marked)
] + [
    (1000, 100, 89, 45),
    (1000, 200, 416, 150),
    (100_000, 10_000, 124, 62),
    (100_000, 20_000, 1024, 400),
    (1_000_000, 100_000, 4096, 700),
    (1_000_000, 300_000, 4096, 500),
    (1_000_000, 5, 4096, 4),
    (4_294_967_295, 429_496_729, 4096, 600),
]

answers = [
    dict(size=s, marked=m, draws=d, above=a, log2=log2_tail(s, m, d, a)) for s, m, d, a in CASES
]
lines = ",\n".join("  " + json.dumps(answer) for answer in answers)
open("known_answers.json", "w").write(f"[\n{lines}\n]\n")
