"""One client in one round of the Undertone protocol: bytes in, bytes out (Chapters 4 to 11)."""

import math
import secrets
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from undertone_primitives import (
    Bitmap,
    H,
    Lost,
    Reader,
    mask_lanes,
    pack,
    prefix,
    require,
    split,
    stream,
    u8,
    u32be,
    u64be,
    unpack,
    vector,
    verify,
    x25519,
    x25519_public,
)

SELF_MASK, MASK_KEY = 1, 2  # kinds of secret, 17.5
SECURITY_BITS = 80  # B of 4.5


# --- Chapter 4: roster, parameters, policy --------------------------------------------------------


class Roster:
    def __init__(self, data, task, authority):
        reader = Reader(data)
        named_task, self.members = reader.take(16), reader.items(32)
        body = reader.data[: reader.at]
        named_authority, signature = reader.take(32), reader.take(64)
        reader.end()
        require(named_authority == authority, "R-4.1: another authority than the pinned one")
        require(
            verify(authority, "roster signature", b"", body, signature),
            "R-4.1: the roster's signature",
        )
        require(named_task == task, "R-4.2: a roster of another task")
        require(
            self.members and len(set(self.members)) == len(self.members),
            "R-4.3: empty, or a key twice",
        )
        self.digest = H("roster", body)


@dataclass
class Policy:
    """What the owner of a client wants (4.6)."""

    min_honest: int = 4
    max_length: int = 50_000_000
    max_update_clip: float = 1000.0
    min_noise_multiplier: float = 0.0
    allow_no_noise: bool = False
    epsilon: float = 1.0
    delta: float = 1e-5
    max_rounds: int | None = None
    corrupt_fraction: Fraction | None = None  # none: the default of

    def assumed_corrupt(self, members):
        if self.corrupt_fraction is not None:
            return math.floor(self.corrupt_fraction * members)
        return (members - 1) // 3 if members <= 255 else members // 10


def tail(population, marked, drawn, most):
    """P[Hyp(population, marked, drawn) > most] as an exact fraction (4.5, 13.1)."""
    marked = min(marked, population)
    ways = sum(
        math.comb(marked, i) * math.comb(population - marked, drawn - i)
        for i in range(most + 1, min(marked, drawn) + 1)
    )
    return ways, math.comb(population, drawn)


def negligible(times, ways, all_ways):
    """times * ways / all_ways <= 2^-B, in whole numbers."""
    return times * ways << SECURITY_BITS <= all_ways


class Params:
    FORMAT = ">HH16sI32sIBIIHHHHII32s32s32s32s5I"

    def __init__(self, data):
        require(len(data) == 233, "R-3.1: round parameters are 233 bytes")
        (
            self.version, self.suite, self.task, self.round, _nonce, self.length, self.bits,
            self.min_clients, self.max_clients, self.k, self.t, self.m, self.tw, self.c,
            self.min_survivors, self.roster, self.model, self.training, self.mechanism,
            *self.deadlines,
        ) = struct.unpack(self.FORMAT, data)  # fmt: skip
        self.id = H("round parameters", data)
        self.complete = self.max_clients <= self.k + 1

    def check(self, task, number, roster, policy):
        require(self.version == 1 and self.suite == 1, "R-4.6: another version or suite")
        require(self.task == task and self.round == number, "R-4.7: another task or round")
        require(self.roster == roster.digest, "R-4.8: another roster")
        require(self.round and self.length, "R-4.12: round or length is 0")
        require(8 <= self.bits <= 64, "R-4.12: bits")
        lower = max(self.t, self.tw, self.c + 2)
        ordered = lower <= self.min_survivors <= self.min_clients <= self.max_clients
        require(1 <= self.k <= 254 and self.t >= 2 and ordered, "R-4.13: numbers")
        if self.complete:
            most = self.max_clients + self.c
            enough = self.max_clients <= 255 and self.m >= self.max_clients
            require(enough and 2 * self.t > most and 2 * self.tw > most, "R-4.14: complete graph")
        else:
            self.check_ring()
        assumed = policy.assumed_corrupt(len(roster.members))
        require(self.c >= assumed, f"R-4.18: made for {self.c} corrupt clients, not {assumed}")
        enough = self.min_survivors - self.c >= policy.min_honest
        require(enough, "policy: too few honest survivors are enough")
        require(self.length <= policy.max_length, "policy: the vector is too long")

    def check_ring(self):
        k, e = self.k, self.t - self.k // 2 - 1
        require(k % 2 == 0 and 2 <= k <= 254 and self.min_clients >= k + 2, "R-4.15: neighbours")
        small = e >= 0 and negligible(self.max_clients, *tail(self.min_clients, self.c, k // 2, e))
        require(small and self.t <= k, "R-4.16: threshold on the ring")
        cw = 2 * self.tw - self.m - 1
        require(cw >= 0 and self.tw <= self.m <= self.min_clients, "R-4.17: witnesses")
        corrupt_majority = tail(self.min_clients, self.c, self.m, cw)
        require(negligible(1, *corrupt_majority), "R-4.17: witnesses")


# --- Chapter 5: directory and graph ---------------------------------------------------------------


class Entry(NamedTuple):
    sender: int
    cipher_key: bytes
    mask_key: bytes
    encoding: bytes


def permutation(key, n):
    """Who sits at each place of the ring, by position (5.4)."""
    words = stream(key)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        limit = 2**32 - 2**32 % (i + 1)
        while (r := int.from_bytes(words(4), "little")) >= limit:
            pass
        j = r % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


class Directory:
    """The directory as one client sees it, checked, with graph, slots and witnesses."""

    def __init__(self, data, params, roster, me, sent):
        reader = Reader(data)
        members = Bitmap.read(reader, len(roster.members))
        signed, nodes = reader.items(132), reader.items(32)
        reader.end()
        self.members = members.members()  # roster index of each position
        self.n = n = len(self.members)
        require(params.min_clients <= n <= params.max_clients, "R-5.3: number of clients")
        require(me in self.members, "R-5.4: not in the directory")
        position = {sender: p for p, sender in enumerate(self.members)}
        entries = [Entry(*struct.unpack(">I32s32s", s[:68]), s[:68]) for s in signed]
        senders = [entry.sender for entry in entries]
        require(all(a < b for a, b in zip(senders, senders[1:])), "R-5.5: order of entries")
        require(all(sender in position for sender in senders), "R-5.5: an entry of no member")
        for entry, s in zip(entries, signed):
            key, message = roster.members[entry.sender], entry.encoding
            require(verify(key, "AdvertiseKeys", params.id, message, s[68:]), "R-5.6: signature")
            require(entry.cipher_key != entry.mask_key, "R-5.7: one key for both uses")
            for ephemeral in (entry.cipher_key, entry.mask_key):
                x25519(bytes(32), ephemeral)  # refuses what names
        keys = [key for entry in entries for key in (entry.cipher_key, entry.mask_key)]
        require(len(set(keys)) == len(keys), "R-5.8: an ephemeral key stands twice")
        self.entries = {position[entry.sender]: entry for entry in entries}
        root = self._root(iter(nodes))
        self.digest = H("directory root", members.encode(), root)
        self.me = position[me]
        self._seat(params)
        needed = {self.me, *self.neighbours}
        require(set(self.entries) == needed, "R-5.11: not the neighbours' entries")
        require(self.entries[self.me].encoding == sent, "R-5.12: own entry changed")

    def _root(self, nodes):
        given = sorted(self.entries)

        def root(first, count, inside):
            if not inside:
                node = next(nodes, None)
                require(node is not None, "R-5.9: a node is missing")
                return node
            if count == 1:
                return H("directory leaf", self.entries[first].encoding)
            s = 1 << (count - 1).bit_length() - 1
            left = [p for p in inside if p < first + s]
            return H(
                "directory node",
                root(first, s, left),
                root(first + s, count - s, inside[len(left) :]),
            )

        result = root(0, self.n, given)
        require(next(nodes, None) is None, "R-5.9: a node is left over")
        return result

    def _seat(self, params):
        """Neighbours in slot order, this client's slot as their holder, witnesses (5.4 to 5.6)."""
        n, me = self.n, self.me
        if params.complete:
            self.neighbours = [p for p in range(n) if p != me]
            self.slot_of = {u: me if me < u else me - 1 for u in self.neighbours}
            self.slot_of[me] = n - 1
            self.holders, self.witnesses = n, set(self.members)
            return
        order = permutation(H("graph", params.id, self.digest), n)
        h, q = params.k // 2, order.index(me)
        ahead = [order[(q + j) % n] for j in range(1, h + 1)]
        behind = [order[(q - j) % n] for j in range(1, h + 1)]
        self.neighbours = ahead + behind
        # A dealer j places ahead sees this client j places behind, and the other way round.
        self.slot_of = {u: h + j for j, u in enumerate(ahead)}
        self.slot_of |= {u: j for j, u in enumerate(behind)}
        self.holders = params.k
        self.witnesses = {self.members[p] for p in order[: params.m]}


# --- Chapters 6 to 11: one client's round ---------------------------------------------------------


class Round:
    """The state of one client in one round. Each method makes the body of one phase's message."""

    def __init__(self, params, roster, identity):
        self.params, self.roster, self.identity = params, roster, identity
        public = identity.public_key().public_bytes_raw()
        require(public in roster.members, "R-4.4: not on the roster")
        self.me = roster.members.index(public)

    def _sign(self, label, message):
        return message + self.identity.sign(prefix(label) + self.params.id + message)

    def _derive(self, ikm, label, context):
        return HKDF(SHA256(), 32, salt=self.params.id, info=prefix(label) + context).derive(ikm)

    def _set_digest(self, bitmap):
        return H("set", self.params.id, self.directory.digest, u64be(bitmap.size), bitmap.data)

    def _commit(self, dealer, slot, kind, share):
        return H("share commitment", self.params.id, u32be(dealer), u8(slot), u8(kind), share)

    def _commit_pair(self, dealer, slot, pair):
        self_mask = self._commit(dealer, slot, SELF_MASK, pair[:32])
        return self_mask + self._commit(dealer, slot, MASK_KEY, pair[32:])

    def advertise_keys(self):
        self.cipher_seed, self.mask_seed = secrets.token_bytes(32), secrets.token_bytes(32)
        self.sent = u32be(self.me) + x25519_public(self.cipher_seed) + x25519_public(self.mask_seed)
        return self._sign("AdvertiseKeys", self.sent)

    def share_keys(self, view):
        d = self.directory = Directory(view, self.params, self.roster, self.me, self.sent)
        self.self_seed = secrets.token_bytes(32)
        of_b = split(self.self_seed, d.holders, self.params.t)
        of_s = split(self.mask_seed, d.holders, self.params.t)
        pairs = [b + s for b, s in zip(of_b, of_s)]
        shares = b""
        for slot, v in enumerate(d.neighbours):
            context = d.digest + u32be(self.me) + u32be(d.members[v])
            key = self._derive(x25519(self.cipher_seed, d.entries[v].cipher_key), "seal", context)
            shares += ChaCha20Poly1305(key).encrypt(bytes(12), pairs[slot], context)
            shares += self._commit_pair(self.me, slot, pairs[slot])
        own = b"\0"
        self.pairs = {}  # by dealer's position: the pairs that this client may reveal
        if self.params.complete:
            own = b"\1" + self._commit_pair(self.me, d.n - 1, pairs[-1])
            self.pairs[d.me] = pairs[-1]
        dealing = vector(shares) + own
        commitment = H("seed commitment", self.params.id, u32be(self.me), self.self_seed)
        header = u32be(self.me) + d.digest + commitment + H("dealing", dealing)
        return self._sign("ShareKeys", header) + dealing

    def _check_set(self, members, which):
        """[R-8.1] to [R-8.3] of U2 and [R-9.1] to [R-9.3] of U3."""
        d = self.directory
        require(d.me in members, f"{which}.1: not in the set")
        require(len(members) >= self.params.min_survivors, f"{which}.2: too few clients")
        holders = members & d.slot_of.keys()  # who deals to me holds of me: both by neighbours
        require(len(holders) >= self.params.t, f"{which}.3: too few holders are left")

    def masked_input(self, dealt, x):
        d, reader = self.directory, Reader(dealt)
        self.u2_bitmap = Bitmap.read(reader, d.n)
        deliveries = reader.items(308)
        reader.end()
        self.u2 = set(self.u2_bitmap.members())
        self._check_set(self.u2, "R-8")
        dealers = sorted(self.u2.intersection(d.neighbours))
        senders = [Reader(delivery).u32() for delivery in deliveries]
        expected = [d.members[u] for u in dealers]
        require(senders == expected, "R-8.4: not one delivery for each neighbour")
        for sender, delivery in zip(senders, deliveries):
            key, header, signature = self.roster.members[sender], delivery[:100], delivery[100:164]
            require(verify(key, "ShareKeys", self.params.id, header, signature), "R-8.5: signature")
            require(header[4:36] == d.digest, "R-8.6: a dealer under another directory")
        for u, delivery in zip(dealers, deliveries):
            self._open(u, delivery[164:244], delivery[244:308])
        y, size = list(x), self.params.length
        require(len(x) == size, "12.2: wrong length of the input")
        self._add(y, self._derive(self.self_seed, "self mask", b""), 1)
        for v in dealers:  # whether or not its shares were good
            low, high = sorted((self.me, d.members[v]))
            shared = x25519(self.mask_seed, d.entries[v].mask_key)
            key = self._derive(shared, "mask", d.digest + u32be(low) + u32be(high))
            self._add(y, key, 1 if d.me < v else -1)
        payload = pack([element % (1 << self.params.bits) for element in y], self.params.bits)
        digests = self._set_digest(self.u2_bitmap) + H("masked input payload", payload)
        return self._sign("MaskedInput", u32be(self.me) + digests) + payload

    def _open(self, u, sealed, commitments):
        """Opens the pair of a dealer; a bad one is set aside [R-8.7]."""
        d, dealer = self.directory, self.directory.members[u]
        context = d.digest + u32be(dealer) + u32be(self.me)
        key = self._derive(x25519(self.cipher_seed, d.entries[u].cipher_key), "seal", context)
        try:
            pair = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, context)
        except InvalidTag:
            return
        if self._commit_pair(dealer, d.slot_of[u], pair) == commitments:
            self.pairs[u] = pair

    def _add(self, y, key, sign):
        for i, lane in enumerate(mask_lanes(key, len(y), self.params.bits)):
            y[i] += sign * lane

    def consistency_check(self, survivors):
        """The message of a witness; nothing for others."""
        reader = Reader(survivors)
        self.u3_bitmap = Bitmap.read(reader, self.directory.n)
        reader.end()
        self.u3 = set(self.u3_bitmap.members())
        self._check_set(self.u3, "R-9")
        require(self.u3 <= self.u2, "R-9.4: a survivor that did not share keys")
        digests = [self._set_digest(bitmap) for bitmap in (self.u2_bitmap, self.u3_bitmap)]
        self.view = self.directory.digest + digests[0] + digests[1]
        if self.me in self.directory.witnesses:
            return self._sign("ConsistencyCheck", u32be(self.me) + self.view)
        return None

    def unmask(self, statements):
        reader, agreed = Reader(statements), set()
        for s in reader.items(164):
            sender, statement, signature = Reader(s).u32(), s[:100], s[100:]
            if sender not in self.directory.witnesses or statement[4:] != self.view:
                continue
            key = self.roster.members[sender]
            if verify(key, "ConsistencyCheck", self.params.id, statement, signature):
                agreed.add(sender)
        reader.end()
        require(len(agreed) >= self.params.tw, "R-10.1: too few witnesses agree")
        shares = b""
        for dealer, pair in sorted(self.pairs.items()):  # all of U2
            revealed = (SELF_MASK, pair[:32]) if dealer in self.u3 else (MASK_KEY, pair[32:])
            shares += struct.pack(">IB32s", dealer, *revealed)
        return self._sign("Unmask", u32be(self.me) + vector(shares))

    def wipe(self):
        """Lets go of the secrets [R-3.13]; Python cannot overwrite them."""
        for name in ("cipher_seed", "mask_seed", "self_seed", "pairs"):
            self.__dict__.pop(name, None)

    def check_result(self, result, packed_sum):
        """The sum, if the result is of this round and its transcript holds (11.2)."""
        if result["round"] != self.params.id.hex() or result["outcome"] != "finished":
            raise Lost("R-11.3: the result is of another round, or failed")
        survivors = [self.directory.members[p] for p in sorted(self.u3)]
        if result["survivors"] != survivors:
            raise Lost("R-11.3: the result names other survivors")
        view = struct.unpack("32s32s32s", self.view)
        transcript = H("transcript", self.params.id, *view, packed_sum)
        if result["transcript"] != transcript.hex():
            raise Lost("11.2: the transcript is not that of this round")
        return unpack(packed_sum, self.params.length, self.params.bits)
