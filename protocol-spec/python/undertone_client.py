#!/usr/bin/env python3
"""A client of the Undertone secure-aggregation protocol, version 1, suite 1.

Written from the specification (protocol-spec/src) alone. Names in brackets, [R-5.3], are its
requirements. Needs Python 3.10 or later, a POSIX system, and the package `cryptography`.

Here are the documents of a task, the durable record, HTTP, and the order of things;
`undertone_round` is the protocol, `undertone_primitives` what it is made of.
"""

import argparse
import fcntl
import http.client
import ipaddress
import json
import math
import os
import random
import secrets
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undertone_primitives import H, Lost, Refused, packed_length, require
from undertone_round import Params, Policy, Roster, Round

PHASES = ["advertise-keys", "share-keys", "masked-input", "consistency-check", "unmask"]


# --- Chapter 12: documents and input encoding -----------------------------------------------------


class Mechanism:
    """The mechanism, read strictly [R-12.1]."""

    def __init__(self, data):
        def unique(pairs):
            require(len(dict(pairs)) == len(pairs), "R-12.1: a field stands twice")
            return dict(pairs)

        def fields(value, names):
            exact = isinstance(value, dict) and set(value) == set(names.split())
            require(exact, f"R-12.1: the fields have to be {names}")
            return value

        def number(value, low, high=sys.float_info.max):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            require(is_number and low <= value <= high, "R-12.1: a value out of range")
            return value

        above_0 = sys.float_info.min
        try:
            whole = fields(json.loads(data, object_pairs_hook=unique), "update_clip scale noise")
        except ValueError:
            raise Refused("R-12.1: not JSON") from None
        self.clip = number(whole["update_clip"], above_0)
        self.scale = number(whole["scale"], above_0)
        self.bound = math.ceil(number(self.clip * self.scale, above_0))
        self.noise, self.cost = whole["noise"], None
        if self.noise != {"kind": "none"}:
            fields(self.noise, "kind clip_norm per_round")
            require(self.noise["kind"] == "local-dp-sgd", "R-12.1: an unknown kind of noise")
            number(self.noise["clip_norm"], above_0)
            self.cost = fields(self.noise["per_round"], "sampling_rate noise_multiplier steps")
            number(self.cost["sampling_rate"], 0, 1)
            number(self.cost["noise_multiplier"], 0.01)
            number(self.cost["steps"], 0)
            require(isinstance(self.cost["steps"], int), "R-12.1: steps is a whole number")

    def check(self, params, training, policy):
        """Against the parameters [R-12.7], the training settings [R-12.2] and the policy."""
        wraps = params.max_clients * self.bound >= 1 << (params.bits - 1)
        require(not wraps, "R-12.7: the sum could wrap")
        require(self.clip <= policy.max_update_clip, "policy: the clip norm is too large")
        privacy = training.get("privacy")
        if self.cost is None:
            require(policy.allow_no_noise, "policy: a mechanism without noise")
            require(not privacy, "R-12.2: training with noise, a mechanism without")
            return
        enough = self.cost["noise_multiplier"] >= policy.min_noise_multiplier
        require(enough, "policy: too little noise")
        require("privacy" not in training or privacy, "R-12.2: training without noise")
        stated = [
            (privacy or {}, "clip_norm", self.noise["clip_norm"]),
            (privacy or {}, "noise_multiplier", self.cost["noise_multiplier"]),
            (training, "sampling_rate", self.cost["sampling_rate"]),
            (training, "local_steps", self.cost["steps"]),
        ]
        agree = all(settings.get(name, value) == value for settings, name, value in stated)
        require(agree, "R-12.2: training settings and mechanism disagree")

    def encode(self, update, bits):
        """From an update to ring elements (12.2)."""
        require(all(math.isfinite(v) for v in update), "R-12.4: a value that is not finite")
        norm = math.sqrt(math.fsum(v * v for v in update))
        shrink = self.clip / norm if norm > self.clip else 1.0
        out = []
        for v in update:
            exact = v * shrink * self.scale
            z = math.floor(exact)
            z += secrets.randbits(53) / 2**53 < exact - z
            out.append(max(-self.bound, min(self.bound, z)) % (1 << bits))
        return out


def epsilon(costs, delta):
    """Epsilon of these rounds together: Renyi differential privacy of the Poisson-subsampled
    Gaussian at whole orders (Mironov, Talwar, Zhang 2019, Section 3.3), the least of all orders.
    """
    steps = Counter()
    for cost in costs:
        steps[cost["sampling_rate"], cost["noise_multiplier"]] += cost["steps"]

    def log_moment(a, q, sigma):
        if q == 0:
            return 0.0
        if q == 1:
            return a * (a - 1) / (2 * sigma**2)
        logs = [
            math.log(math.comb(a, k)) + (a - k) * math.log1p(-q) + k * math.log(q)
            + k * (k - 1) / (2 * sigma**2)
            for k in range(a + 1)
        ]  # fmt: skip
        return max(logs) + math.log(math.fsum(math.exp(x - max(logs)) for x in logs))

    def at_order(a):
        rdp = sum(n * log_moment(a, *key) / (a - 1) for key, n in steps.items())
        return rdp + math.log1p(-1 / a) - (math.log(delta) + math.log(a)) / (a - 1)

    return max(0.0, min(map(at_order, range(2, 129)))) if steps else 0.0


def read_adapter(data, d):
    """The values of a safetensors file of F32 tensors, in order of their names (12.1)."""
    try:
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + size])
        values = []
        for name in sorted(header, key=str.encode):
            if name == "__metadata__":
                continue
            tensor = header[name]
            begin, end = tensor["data_offsets"]
            count = math.prod(tensor["shape"])
            fits = tensor["dtype"] == "F32" and end - begin == 4 * count
            require(fits, "R-12.3: type of a tensor")
            values += struct.unpack_from(f"<{count}f", data, 8 + size + begin)
    except (ValueError, KeyError, TypeError, struct.error):
        raise Refused("R-12.3: not a safetensors file") from None
    require(len(values) == d, "R-12.3: number of values")
    require(all(map(math.isfinite, values)), "R-12.3: a value that is not finite")
    return values


# --- Section 4.7: the durable record --------------------------------------------------------------


class Record:
    """What this client has done, in a file that is flushed before the thing itself is done.

    A missing or damaged file is refused [R-4.22]: only the owner can say that this client is new,
    or that no round is open that it may have begun.
    """

    def __init__(self, folder, new=False):
        os.makedirs(folder, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if new else 0)
        self.file = os.open(os.path.join(folder, "record"), flags, 0o600)
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.lines = []
        with os.fdopen(os.dup(self.file), "rb") as lines:
            for line in lines:
                kind, round_id, cost = json.loads(line)
                self.lines.append((kind, round_id, cost))
                if not line.endswith(b"\n"):
                    raise ValueError("the record is damaged")
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def has(self, kind, round_id):
        return any(line[:2] == (kind, round_id) for line in self.lines)

    def write(self, kind, round_id, cost=None):
        if self.has(kind, round_id):
            raise Refused(f"R-4.21: {kind} stands in the record")
        line = json.dumps([kind, round_id, cost]).encode() + b"\n"
        if os.write(self.file, line) != len(line):
            raise OSError("the record could not be written")
        os.fsync(self.file)
        self.lines.append((kind, round_id, cost))

    def costs(self):
        return [cost for kind, _, cost in self.lines if kind == "spent" and cost]

    def rounds(self):
        return sum(kind == "begun" for kind, _, _ in self.lines)


# --- Chapter 14: HTTP -----------------------------------------------------------------------------


class Problem(Lost):
    def __init__(self, status, body):
        try:
            problem = json.loads(body)
            self.name = str(problem["type"]).rpartition(":")[2]
            detail = problem.get("detail", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            self.name, detail = "unknown", ""
        self.status = status
        super().__init__(f"{status} {self.name}: {detail}")


class Server:
    PATIENCE = 120  # seconds

    def __init__(self, url, allow_plain_http=False):
        parts = urlsplit(url)
        self.host, self.base = parts.netloc, parts.path.rstrip("/") + "/v1/"
        self.tls = parts.scheme == "https"
        try:
            loopback = ipaddress.ip_address(parts.hostname).is_loopback
        except ValueError:
            loopback = parts.hostname == "localhost"
        if not self.tls and not (parts.scheme == "http" and (loopback or allow_plain_http)):
            raise Refused("R-14.1: plain HTTP is for loopback addresses only")

    def _once(self, method, path, body, limit, timeout):
        if self.tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(self.host, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, timeout=timeout)
        try:
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            # Follows no redirect.
            connection.request(method, self.base + path, body, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                limit = 1 << 16
            data = answer.read(limit + 1)
            require(len(data) <= limit, "R-14.3: the body is too long")
            return answer.status, answer.headers.get("Retry-After", "0"), data
        finally:
            connection.close()

    def request(self, method, path, body=None, limit=1 << 20, wait=0, until=None):
        """The body of a 200; tries again as 14.5 says, with the same bytes [R-14.8]."""
        until = until or time.monotonic() + self.PATIENCE
        ceiling = 0.1
        timeout = wait + 60 + len(body or b"") / 10_000
        while True:
            at_least = 0.0
            try:
                status, after, data = self._once(method, path, body, limit, timeout)
                if status == 200:
                    return data
                failure = Problem(status, data)
                if status not in (429, 502, 503, 504) and failure.name != "phase-not-open":
                    raise failure
                at_least = float(after) if after.isdigit() else 0.0
            except (OSError, http.client.HTTPException) as error:
                failure = Lost(f"no connection: {error}")
            pause = max(at_least, random.uniform(0, ceiling))
            ceiling = min(10.0, 2 * ceiling)
            if time.monotonic() + pause > until:
                raise failure
            time.sleep(pause)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def json(self, path, *fields, **options):
        """An object that has these fields."""
        try:
            value = json.loads(self.get(path, **options))
        except ValueError:
            value = None
        if not isinstance(value, dict) or not set(fields) <= set(value):
            raise Lost(f"{path}: an answer without {fields}")
        return value


# --- One client, many rounds ----------------------------------------------------------------------


@dataclass
class Client:
    """An enrolled client (4.1). `train` gets the adapter's values and returns the update's."""

    server: Server
    task: bytes
    identity: Ed25519PrivateKey
    authority: bytes
    policy: Policy
    record: Record
    train: Callable[[list, bytes], list]
    roster: Roster = field(init=False)

    def __post_init__(self):
        roster = self.server.get(f"tasks/{self.task.hex()}/roster", limit=1 << 28)
        self.roster = Roster(roster, self.task, self.authority)

    def run(self, rounds=None):
        """Takes part until the task ends or after so many rounds; yields number and sum of each."""
        after, path = 0, f"tasks/{self.task.hex()}/round"
        while rounds is None or rounds > 0:
            offer = self.server.json(f"{path}?after={after}&wait=30", "status", wait=30)
            if offer["status"] == "finished":
                return
            if offer["status"] != "open":
                time.sleep(0.5)
                continue
            after, rounds = int(offer["number"]), rounds and rounds - 1
            try:
                yield after, self.take_part(str(offer["round"]), after)
            except (Refused, Lost) as reason:
                print(f"round {after}: {type(reason).__name__.lower()}: {reason}", file=sys.stderr)
                yield after, None

    def prepare(self, round_id, number):
        """Everything that is checked, and trained, before anything is sent [R-6.1]."""
        get, policy = self.server.get, self.policy
        require(not self.record.has("begun", round_id), "R-4.21: begun before a restart")
        begun = self.record.rounds()
        require(policy.max_rounds is None or begun < policy.max_rounds, "policy: enough rounds")
        params = Params(get(f"rounds/{round_id}/params", limit=233))
        require(params.id.hex() == round_id, "R-4.5: the id is not that of the parameters")
        params.check(self.task, number, self.roster, policy)
        if self.status(round_id)["phase"] != PHASES[0]:
            raise Lost("the round is past AdvertiseKeys")
        documents = f"tasks/{self.task.hex()}/"
        mechanism, training = get(documents + "mechanism"), get(documents + "training")
        require(H("mechanism", mechanism) == params.mechanism, "R-4.11: another mechanism")
        require(H("training", training) == params.training, "R-4.10: other training settings")
        checked = Mechanism(mechanism)
        checked.check(params, json.loads(training), policy)
        costs = self.record.costs() + ([checked.cost] if checked.cost else [])
        spent = epsilon(costs, policy.delta)
        require(spent <= policy.epsilon, "R-4.19: the privacy budget does not cover the round")
        adapter = get(f"rounds/{round_id}/adapter", limit=(1 << 24) + 4 * params.length)
        require(H("model", adapter) == params.model, "R-4.9: another adapter")
        update = self.train(read_adapter(adapter, params.length), training)
        require(len(update) == params.length, "12.2: the update has another length")
        return params, checked.encode(update, params.bits), checked.cost

    def take_part(self, round_id, number):
        """One round; the sum modulo 2^b that the aggregator published."""
        p, x, cost = self.prepare(round_id, number)
        state, record = Round(p, self.roster, self.identity), self.record
        get, path, clients = self.server.get, f"rounds/{round_id}/", len(self.roster.members)
        try:
            message = state.advertise_keys()
            record.write("begun", round_id)
            self.send(p, "advertise-keys", state.me, message)
            self.wait(p, "advertise-keys")

            view = get(f"{path}directory/{state.me}", limit=1024 + 200 * clients)
            self.send(p, "share-keys", state.me, state.share_keys(view))
            self.wait(p, "share-keys")

            dealt = get(f"{path}dealt/{state.me}", limit=1024 + 309 * clients)
            message = state.masked_input(dealt, x)
            record.write("spent", round_id, cost)
            self.send(p, "masked-input", state.me, message)
            late = self.wait(p, "masked-input", latest="unmask") == "unmask"

            message = state.consistency_check(get(path + "survivors", limit=1024 + clients))
            if message is not None and not late:
                record.write("signed", round_id)
                self.send(p, "consistency-check", state.me, message, unless="late-message")
            self.wait(p, "consistency-check")

            message = state.unmask(get(path + "statements", limit=8 + 164 * p.m))
            record.write("answered", round_id)
            self.send(p, "unmask", state.me, message, unless="round-ended")
        finally:
            state.wipe()
        self.wait(p, "unmask")
        packed = get(path + "sum", limit=packed_length(p.length, p.bits))
        result = self.server.json(path + "result", "round", "outcome", "survivors", limit=1 << 26)
        return state.check_result(result, packed)

    def send(self, params, phase, me, message, unless=None):
        """Puts the message of a phase; the same bytes again where an answer was lost. One kind of
        problem may be no failure."""
        path = f"rounds/{params.id.hex()}/{phase}/{me}"
        try:
            self.server.request("PUT", path, message, until=self.until(params, phase))
        except Problem as problem:
            if problem.name != unless:
                raise

    def status(self, round_id, query="", **options):
        return self.server.json(f"rounds/{round_id}/status{query}", "phase", **options)

    def until(self, params, phase):
        """When this client gives up on a phase that begins now."""
        deadline = params.deadlines[PHASES.index(phase)] / 1000
        return time.monotonic() + deadline + self.server.PATIENCE

    def wait(self, params, phase, latest=None):
        """Waits until the next phase is open, or one up to `latest`, and says which; raises if this
        client missed it (14.4)."""
        names = PHASES + ["finished"]
        most = names.index(latest) - names.index(phase) if latest else 1
        until, query = self.until(params, phase), f"?seen={phase}&wait=30"
        while True:
            started = time.monotonic()
            status = self.status(params.id.hex(), query, wait=30, until=until)
            if status["phase"] == "failed":
                raise Lost(f"the round failed: {status.get('reason')}")
            if status["phase"] not in names:
                raise Lost(f"an unknown phase {status['phase']!r}")
            ahead = names.index(status["phase"]) - names.index(phase)
            if 1 <= ahead <= most:
                return status["phase"]
            if ahead > 1:
                raise Lost("this client missed its turn")
            if time.monotonic() > until:
                raise Lost(f"{phase} overruns its deadline")
            if time.monotonic() - started < 29:
                time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description="Takes part in an Undertone task.")
    option = parser.add_argument
    option("--server", required=True, help="address of the aggregator")
    option("--task", required=True, type=bytes.fromhex, help="32 hexadecimal digits")
    option("--identity", required=True, help="file with 64 hexadecimal digits")
    option("--authority", required=True, type=bytes.fromhex, help="64 hexadecimal digits")
    option("--record", required=True, help="folder of the durable record")
    option("--new", action="store_true", help="make the record: this client never took part yet")
    option("--update", help="file with a JSON list of d numbers (default: zeros)")
    option("--rounds", type=int, help="stop after so many rounds were offered")
    option("--min-honest", type=int, default=Policy.min_honest)
    option("--corrupt", type=Fraction, help="fraction of the roster that may be corrupt")
    option("--allow-no-noise", action="store_true", help="accept a mechanism without noise")
    option("--epsilon", type=float, default=Policy.epsilon, help="privacy budget, delta 1e-5")
    options = parser.parse_args()

    def read(path):
        with open(path, encoding="ascii") as file:
            return file.read()

    def train(adapter, _training):
        """Where a real client trains."""
        return json.loads(read(options.update)) if options.update else [0.0] * len(adapter)

    policy = Policy(
        min_honest=options.min_honest,
        corrupt_fraction=options.corrupt,
        allow_no_noise=options.allow_no_noise,
        epsilon=options.epsilon,
    )
    client = Client(
        server=Server(options.server),
        task=options.task,
        identity=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(read(options.identity))),
        authority=options.authority,
        policy=policy,
        record=Record(options.record, options.new),
        train=train,
    )
    lost = 0
    for number, total in client.run(options.rounds):
        print(f"round {number}: {'lost' if total is None else 'took part'}", flush=True)
        lost += total is None
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
