"""Makes noise_exact.json (mpmath) and noise_opendp.json (OpenDP's sampler).

    python -m venv v && v/bin/pip install mpmath==1.4.1 opendp==0.16.0
    v/bin/python make_noise_vectors.py

noise_exact.json: probabilities of intervals of integer distributions, to 30 digits.
Skellam(V): exp(-V) I_k(V), two values by integration, the others by recurrence. Discrete Gaussian: exp(-k^2/2V), normalised.
noise_opendp.json: histograms of `make_gaussian` on integers, which samples the discrete Gaussian
exactly (Canonne, Kamath, Steinke 2020) from the system's randomness, so a new run differs.
"""

import json
from pathlib import Path

import opendp.prelude as dp
from mpmath import cos, exp, mp, mpf, nstr, pi

HERE = Path(__file__).parent
mp.dps = 50
UNIT = 65536
# In 65536ths: 0.5, 7.3, 1000, 20000.25, 1e6.
VARIANCES = [32768, 478412, 65536000, 1310736384, 65536000000]
INTERVALS = 41


def skellam_at(k, v):
    """exp(-V) I_k(V) as an integral over a period: the trapezoidal rule errs by P(n - k) only."""
    n = 2 * k + int(14 * v**0.5) + 40
    mp.dps = 120
    points = [cos(2 * pi * j / n) for j in range(n)]
    value = sum(exp(v * (c - 1)) * points[j * k % n] for j, c in enumerate(points)) / n
    mp.dps = 50
    return value


def weights(sampler, v, last):
    """Probabilities of 0 to last."""
    if sampler == "skellam":
        upper, value = skellam_at(last + 1, v), skellam_at(last, v)
        found = [value]
        for k in range(last, 0, -1):
            upper, value = value, upper + 2 * k / v * value
            found.append(value)
        return list(reversed(found))
    terms = [exp(-mpf(k) ** 2 / (2 * v)) for k in range(last + 1)]
    total = terms[0] + 2 * sum(terms[1:])
    return [t / total for t in terms]


def exact():
    cases = []
    for sampler in ("skellam", "discrete-gaussian"):
        for units in VARIANCES:
            v = mpf(units) / UNIT
            # Beyond fourteen deviations (Skellam's tail is longer where V is small) is below 1e-40.
            last = int(14 * v**0.5) + 40
            p = weights(sampler, v, last)
            # Intervals of about equal width over four deviations on each side.
            width = max(1, int(8 * v**0.5 / INTERVALS))
            reach = width * (INTERVALS // 2)
            edges = list(range(-reach - width // 2, reach + width, width))
            at = lambda k: p[abs(k)] if abs(k) <= last else mpf(0)
            inner = [sum(at(k) for k in range(a, b)) for a, b in zip(edges, edges[1:])]
            below = sum(at(k) for k in range(-last, edges[0]))
            above = sum(at(k) for k in range(edges[-1], last + 1))
            cases.append({
                "sampler": sampler,
                "variance_65536ths": units,
                # Interval i is [edges[i-1], edges[i]); the first and the last are tails.
                "edges": edges,
                "probabilities": [float(x) for x in [below, *inner, above]],
                "at_0": nstr(p[0], 30),
                "at_deviation": nstr(at(int(v**0.5)), 30),
            })
    (HERE / "noise_exact.json").write_text(json.dumps(cases, indent=1) + "\n")


def opendp():
    dp.enable_features("contrib")
    cases = []
    for scale, draws in ((2.0, 40_000), (150.0, 40_000)):
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        sampler = dp.m.make_gaussian(*space, scale=scale)
        values = sampler([0] * draws)
        width = max(1, int(scale / 5))
        histogram = {}
        for x in values:
            histogram[x // width] = histogram.get(x // width, 0) + 1
        cases.append({
            "variance_65536ths": int(scale**2 * UNIT),
            "draws": draws,
            # How many draws lie in [width * i, width * (i + 1)).
            "width": width,
            "histogram": sorted(histogram.items()),
        })
    document = {"made_with": "opendp 0.16.0, make_gaussian on i64 vectors", "cases": cases}
    (HERE / "noise_opendp.json").write_text(json.dumps(document) + "\n")


exact()
opendp()
