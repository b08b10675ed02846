#!/usr/bin/env python3
"""Checks this client against the test vectors in protocol-spec/vectors; prints what it checked.

Cases about what only an aggregator does, or about messages that a client sends and never reads, are
left to others.
"""

import json
import math
import struct
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

import undertone_client
import undertone_primitives as u
import undertone_round
from undertone_round import Bitmap, Directory, Params, Policy, Roster, Round, permutation, tail

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
B = bytes.fromhex


def refused(function, *arguments):
    """Whether it is refused. Where several rules are broken, which one is named is open."""
    try:
        function(*arguments)
    except u.Refused:
        return True
    return False


def bitmap_of(value):
    bits = sum(1 << member for member in value["members"])
    return Bitmap(value["size"], bits.to_bytes((value["size"] + 7) // 8, "little"))


def labels(c):
    if c["kind"] == "label":
        return u.prefix(c["name"]) == B(c["prefix"])
    if c["kind"] == "hash":
        return u.H(c["name"], *map(B, c["parts"])) == B(c["digest"])
    state = SimpleNamespace(params=SimpleNamespace(id=B(c["round_id"])))
    return Round._derive(state, B(c["ikm"]), c["name"], B(c["context"])) == B(c["key"])


def codec(c):
    if c["kind"] == "length":
        # The length alone; the elements are not there.
        size = len(B(c["encoding"]))
        return c["length"] >= 1 << 20 or u.vector(bytes(c["length"]))[:size] == B(c["encoding"])
    if c["kind"] == "object":
        if c["object"]["type"] == "Bitmap":
            return bitmap_of(c["object"]["value"]).encode() == B(c["encoding"])
        return None  # the rounds below have these
    data = B(c["bytes"])

    def read():
        reader = u.Reader(data)
        if c["type"] == "opaque<V>":
            reader.vector()
        elif c["type"] == "Bitmap":
            Bitmap.read(reader, int.from_bytes(data[:4], "big"))
        elif c["type"].endswith("statements<V>"):
            reader.items(164)
        elif c["type"] == "DealtToClient":
            Bitmap.read(reader, int.from_bytes(data[:4], "big"))
            reader.items(308)
        elif c["type"] == "DirectoryView":
            Bitmap.read(reader, int.from_bytes(data[:4], "big"))
            reader.items(132), reader.items(32)
        reader.end()

    # A client never decodes the other messages.
    received = ("opaque<V>", "Bitmap", "statements<V>", "DealtToClient", "DirectoryView")
    return refused(read) if c["type"].endswith(received) else None


def signatures(c):
    key, context, signature = B(c["public_key"]), B(c["context"]), B(c["signature"])
    return u.verify(key, c["name"], context, B(c["encoding"]), signature) == c["valid"]


def packing(c):
    data, bits = B(c["packed"]), c["bits"]
    if c["kind"] == "refused":
        return refused(u.unpack, data, c["length"], bits)
    elements = [int(element) for element in c["elements"]]
    return u.pack(elements, bits) == data and u.unpack(data, len(elements), bits) == elements


def masks(c):
    last = max(element["index"] for element in c["elements"])
    lanes = u.mask_lanes(B(c["key"]), last + 1, c["bits"])
    return all(
        lanes[element["index"]] % (1 << c["bits"]) == int(element["value"])
        for element in c["elements"]
    )


def parameters(c):
    if c["kind"] == "roster":
        roster = Roster(B(c["encoding"]), B(c["task"]), B(c["authority"]))
        return roster.digest == B(c["digest"]) and [m.hex() for m in roster.members] == c["members"]
    if c["kind"] == "roster-refused":
        data = B(c["encoding"])
        return refused(Roster, data, data[:16], B(c["authority"]))
    if c["kind"] == "round-parameters":
        return Params(B(c["encoding"])).id == B(c["round_id"])
    if c["kind"] == "tail":
        ways, total = tail(c["population"], c["marked"], c["draws"], c["above"])
        if c["log2"] is None:
            return ways == 0
        return abs(math.log2(ways) - math.log2(total) - c["log2"]) < 1e-5
    policy = Policy(corrupt_fraction=Fraction(0), min_honest=0)
    p = Params.__new__(Params)
    roster = SimpleNamespace(digest=bytes(32), members=[])
    p.version = p.suite = p.round = p.length = 1
    p.bits, p.task, p.roster = 8, bytes(16), roster.digest
    if c["kind"] == "rules":
        n = c["numbers"]
        p.min_clients, p.max_clients = n["min_clients"], n["max_clients"]
        p.k, p.t, p.c, p.min_survivors = (
            n[name] for name in ("neighbours", "threshold", "corrupt", "min_survivors")
        )
        p.m, p.tw = n["witnesses"], n["witness_threshold"]
        p.complete = p.max_clients <= p.k + 1
        if c["accepted"]:
            return p.check(bytes(16), 1, roster, policy) is None
        return refused(p.check, bytes(16), 1, roster, policy)

    def read():
        p = Params(B(c["encoding"]))
        p.check(p.task, p.round, SimpleNamespace(digest=p.roster, members=[]), policy)

    return refused(read)


def directory(c):
    if c["kind"] == "directory":
        return bitmap_of(c["members"]).encode() == B(c["members_encoding"]) and u.H(
            "directory root", B(c["members_encoding"]), B(c["root"])
        ) == B(c["digest"])
    leaves = [B(leaf) for leaf in c["leaves"]]
    hashed, undertone_round.H = u.H, lambda n, *p: p[0] if n == "directory leaf" else u.H(n, *p)
    try:
        for proof in c["proofs"]:
            d = Directory.__new__(Directory)
            d.n = len(leaves)
            d.entries = {p: SimpleNamespace(encoding=leaves[p]) for p in proof["positions"]}
            if d._root(map(B, proof["nodes"])) != B(c["root"]):
                return False
    finally:
        undertone_round.H = hashed
    return True


def graph(c):
    if c["kind"] == "permutation":
        key = u.H("graph", B(c["round_id"]), B(c["directory"]))
        return permutation(key, c["clients"])[: len(c["order_start"])] == c["order_start"]
    p = Params(B(c["params"]))
    neighbours = []
    for me in range(c["clients"]):
        d = Directory.__new__(Directory)
        d.n, d.me, d.members = c["clients"], me, range(c["clients"])
        d.digest = B(c["directory"]) if c["kind"] == "ring" else bytes(32)
        d._seat(p)
        for dealer, slot in d.slot_of.items():
            if c["slots"][dealer][slot] != me:
                return False
        neighbours.append(d.neighbours)
    holders = [n + ([u] if p.complete else []) for u, n in enumerate(neighbours)]
    return holders == c["slots"] and d.witnesses == set(c["witnesses"])


def encoding(c):
    if c["kind"] == "mean":
        return None  # the aggregator's
    mechanism = {name: c[name] for name in ("update_clip", "scale")} | {"noise": {"kind": "none"}}
    mechanism = undertone_client.Mechanism(json.dumps(mechanism))
    if c["kind"] == "fits":
        params = SimpleNamespace(max_clients=c["max_clients"], bits=c["bits"])
        policy = Policy(allow_no_noise=True)
        return refused(mechanism.check, params, {}, policy) != c["fits"]
    coins = map(int, c["coins"])
    kept = undertone_client.secrets
    undertone_client.secrets = SimpleNamespace(randbits=lambda bits: next(coins))
    try:
        return mechanism.encode(c["update"], c["bits"]) == [int(e) for e in c["elements"]]
    finally:
        undertone_client.secrets = kept


def key_stream(seed, purpose, size):
    nonce = bytes(4) + bytes([purpose]) + bytes(11)  # counter 0, then the nonce
    cipher = Cipher(algorithms.ChaCha20(seed, nonce), None).encryptor()
    return cipher.update(bytes(size))


def hadamard(values):
    """The orthonormal transform of one block (12.5)."""
    step, values = 1, list(values)
    while step < len(values):
        for i in range(0, len(values), 2 * step):
            for j in range(i, i + step):
                a, b = values[j], values[j + step]
                values[j], values[j + step] = a + b, a - b
        step *= 2
    return [v / math.sqrt(len(values)) for v in values]


class Rotation:
    """Section 12.5, for small vectors."""

    def __init__(self, c):
        d = self.d = c["dimension"]
        self.block = 1 << (d - 1).bit_length()
        while d > 4096 and -d % self.block > d // 16:
            self.block //= 2
        self.padded = d + -d % self.block
        seed = B(c["seed"])
        signs = key_stream(seed, 0, (d + 7) // 8)
        self.signs = [-1 if signs[i // 8] >> i % 8 & 1 else 1 for i in range(d)]
        self.kept = list(range(self.padded))
        if c["kept"] is not None:
            words = iter(struct.unpack("<4096I", key_stream(seed, 1, 16384)))
            for i in range(c["kept"]):
                below = self.padded - i
                usable = (1 << 32) // below * below
                r = i + next(word for word in words if word < usable) % below
                self.kept[i], self.kept[r] = self.kept[r], self.kept[i]
            self.kept = sorted(self.kept[: c["kept"]])

    def transform(self, values):
        blocks = range(0, self.padded, self.block)
        return [v for i in blocks for v in hadamard(values[i : i + self.block])]

    def forward(self, values):
        signed = [s * v for s, v in zip(self.signs, values)] + [0.0] * (self.padded - self.d)
        rotated = self.transform(signed)
        return [rotated[i] for i in self.kept]

    def inverse(self, coordinates):
        whole = [0.0] * self.padded
        for i, value in zip(self.kept, coordinates):
            whole[i] = value * self.padded / len(self.kept)
        return [s * v for s, v in zip(self.signs, self.transform(whole))]


def norm_bound(radius, n):
    root = math.sqrt(n)
    return math.floor(min(radius**2 + n / 4 + radius + root / 2, (radius + root) ** 2))


def distributed(c):
    def close(found, expected):
        return all(abs(a - b) < 1e-9 for a, b in zip(found, expected, strict=True))

    if c["kind"] == "derived":
        radius = c["update_clip"] * c["scale"]
        n = Rotation(c | {"seed": "00" * 32, "kept": None}).padded
        variance = math.ceil(65536 * ((c["noise_multiplier"] * radius) ** 2 / c["honest"]))
        return (norm_bound(radius, n), variance) == (c["bound"], c["variance_65536ths"])
    rotation = Rotation(c)
    if c["kind"] == "rotation":
        if (rotation.block, rotation.padded) != (c["block"], c["padded"]):
            return False
        ones = [1.0] * len(rotation.kept)
        return close(rotation.inverse(ones)[:8], c["ones_decoded"])
    if c["kind"] == "decode":
        unit = c["scale"] * c["divisor"]
        return close(rotation.inverse([z / unit for z in c["sum"]]), c["mean"])
    rotated = rotation.forward(c["update"])
    norm, clip = math.sqrt(math.fsum(v * v for v in rotated)), c["update_clip"] * (1 - 1e-9)
    factor = c["scale"] * (clip / norm if norm > clip else 1.0)
    exact = [v * factor for v in rotated]
    floors = [math.floor(v) for v in exact]
    coins = [int(coin) / 2**64 for coin in c["coins"]]
    integers = [f + (coin < v - f) for f, v, coin in zip(floors, exact, coins)]
    within = sum(z * z for z in integers) <= c["bound"]
    return within and integers == c["integers"]


def key_schedule(c):
    if c["kind"] == "public-key":
        return refused(u.x25519, bytes(32), B(c["key"])) == (not c["canonical"] or c["low_order"])
    state = SimpleNamespace(params=SimpleNamespace(id=B(c["round_id"])))
    if c["kind"] == "share-commitment":
        made = Round._commit(state, c["dealer"], c["slot"], c["secret"], B(c["share"]))
        return made == B(c["commitment"])
    return None  # the rounds have the others


def replay(client, c, p, roster):
    """One client of a whole round, with the randomness of the vector, byte by byte."""
    seeds = iter(B(client[name] or "") for name in ("cipher_seed", "mask_seed", "self_mask_seed"))
    shares = iter([client["self_mask_shares"], client["mask_key_shares"]])
    undertone_round.secrets = SimpleNamespace(token_bytes=lambda n: next(seeds))
    undertone_round.split = lambda secret, n, t: [B(share) for share in next(shares)]
    state = Round(p, roster, Ed25519PrivateKey.from_private_bytes(B(client["identity_seed"])))
    x = [int(element) for element in client["input"]]
    steps = {
        "advertise_keys": state.advertise_keys,
        "share_keys": lambda: state.share_keys(B(client["directory_view"])),
        "masked_input": lambda: state.masked_input(B(client["dealt"]), x),
        "consistency_check": lambda: state.consistency_check(B(c["survivors_answer"])),
        "unmask": lambda: state.unmask(B(c["statements_answer"])),
    }
    for name, step in steps.items():
        if (client["stops_before"] or "").replace("-", "_") == name:
            return True
        made = step()
        if (made and made.hex()) != client[name]:
            print(f"client {client['index']}: {name} differs", file=sys.stderr)
            return False
    result = {"round": c["round_id"], "outcome": "finished"}
    result |= {"survivors": c["result_clients"], "transcript": c["transcript"]}
    return state.check_result(result, B(c["packed_sum"])) == [int(e) for e in c["sum"]]


def whole_round(c):
    p = Params(B(c["params"]))
    roster = Roster(B(c["roster"]), p.task, B(c["authority"]))
    assumed = c["assumed_corrupt"]
    assumed = None if assumed is None else Fraction(str(assumed))
    p.check(p.task, p.round, roster, Policy(min_honest=0, corrupt_fraction=assumed))
    kept = undertone_round.secrets, undertone_round.split
    try:
        return all(replay(client, c, p, roster) for client in c["clients"])
    finally:
        undertone_round.secrets, undertone_round.split = kept


CHECKS = {
    "labels": labels, "codec": codec, "signatures": signatures, "packing": packing, "masks": masks,
    "parameters": parameters, "directory": directory, "graph": graph, "encoding": encoding,
    "distributed": distributed,
    "key_schedule": key_schedule, "round_complete": whole_round, "round_ring": whole_round,
}  # fmt: skip


def main():
    wrong = 0
    for name, check in CHECKS.items():
        cases = json.loads((VECTORS / f"{name}.json").read_text())["cases"]
        outcomes = [check(case) for case in cases]
        for case, outcome in zip(cases, outcomes):
            if outcome is False:
                print(f"{name}: {str(case)[:200]}", file=sys.stderr)
        wrong += outcomes.count(False)
        print(
            f"{name}: {outcomes.count(True)} of {len(cases)} checked, {outcomes.count(False)} wrong"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
