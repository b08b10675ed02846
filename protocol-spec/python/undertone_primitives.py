"""Encodings and primitives of the Undertone protocol: Chapter 3 and Section 5.1."""

import hashlib
import secrets
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

P = 2**255 - 19


class Refused(Exception):
    """A check failed: this client ends its part in the round and sends nothing further."""


class Lost(Exception):
    """The round is lost for this client, or for all."""


def require(condition, requirement):
    if not condition:
        raise Refused(requirement)


def vector(data):
    """`T x<V>`: the length in bytes in its shortest form, then the elements (3.1)."""
    n = len(data)
    if n < 1 << 6:
        return bytes([n]) + data
    if n < 1 << 14:
        return struct.pack(">H", n | 0x4000) + data
    require(n < 1 << 30, "3.1: vector too long")
    return struct.pack(">I", n | 0x80000000) + data


class Reader:
    """Reads one encoding and refuses whatever is not canonical."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, n):
        require(n <= len(self.data) - self.at, "R-3.2: the encoding ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def vector(self):
        first = self.take(1)[0]
        size = 1 << (first >> 6)
        require(size < 8, "R-3.2: a length field that does not occur")
        n = int.from_bytes(bytes([first & 0x3F]) + self.take(size - 1), "big")
        require(
            size == 1 or n >= (1 << 6 if size == 2 else 1 << 14),
            "R-3.2: a length not in shortest form",
        )
        return self.take(n)

    def items(self, size):
        """A vector of elements of `size` bytes each."""
        data = self.vector()
        require(len(data) % size == 0, "R-3.2: elements do not end where the length says")
        return [data[i : i + size] for i in range(0, len(data), size)]

    def end(self):
        require(self.at == len(self.data), "R-3.1: bytes follow the encoding")


def prefix(name):
    text = b"undertone/v1 " + name.encode()
    return bytes([len(text)]) + text


def H(name, *parts):
    h = hashlib.sha256(prefix(name))
    for part in parts:
        h.update(struct.pack(">Q", len(part)) + part)
    return h.digest()


def u8(x):
    return struct.pack(">B", x)


def u32be(x):
    return struct.pack(">I", x)


def u64be(x):
    return struct.pack(">Q", x)


# y of the points of small order on edwards25519; the sign bit and y + p are further encodings.
_Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_Y = {0, 1, P - 1, _Y8, P - _Y8}


def small_order(point):
    return (int.from_bytes(point, "little") & (2**255 - 1)) % P in _SMALL_Y


def verify(key, label, context, encoding, signature):
    """Whether a signature holds (3.3). OpenSSL checks S < L and the cofactorless equation."""
    if small_order(key) or small_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            signature, prefix(label) + context + encoding
        )
        return True
    except (InvalidSignature, ValueError):
        return False


def x25519_public(seed):
    return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519(seed, public):
    """The shared secret; refuses keys that are not canonical or of low order [R-3.7, R-3.8]."""
    require(int.from_bytes(public, "little") < P, "R-3.7: a key that is not canonical")
    try:
        return X25519PrivateKey.from_private_bytes(seed).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:  # OpenSSL refuses a result of zeros
        raise Refused("R-3.8: a key of low order") from None


def stream(key):
    """The ChaCha20 key stream, nonce 0, from block 0: a function that returns the next n bytes."""
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return lambda n: encryptor.update(bytes(n))


def gf_mul(a, b):
    r = 0
    while b:
        r ^= a * (b & 1)
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return r


def split(secret, holders, threshold):
    """Shamir shares for slots 0 to holders - 1; the x of a share is its slot + 1 (3.6)."""
    coefficients = [secrets.token_bytes(32) for _ in range(threshold - 1)]  # highest degree first
    shares = []
    for x in range(1, holders + 1):
        times_x = bytes(gf_mul(a, x) for a in range(256))
        y = 0
        for coefficient in coefficients + [secret]:
            y = int.from_bytes(y.to_bytes(32, "big").translate(times_x), "big") ^ int.from_bytes(
                coefficient, "big"
            )
        shares.append(y.to_bytes(32, "big"))
    return shares


def pack(elements, bits):
    """d elements at `bits` bits each, little-endian (3.7)."""
    out = bytearray()
    for i in range(0, len(elements), 8):  # 8 elements fill `bits` whole bytes
        word = 0
        for j, element in enumerate(elements[i : i + 8]):
            word |= element << (j * bits)
        out += word.to_bytes(bits, "little")
    return bytes(out[: packed_length(len(elements), bits)])


def packed_length(d, bits):
    return (d * bits + 7) // 8


def unpack(data, d, bits):
    require(len(data) == packed_length(d, bits), "R-3.11: wrong length of a packed vector")
    elements, mask = [], (1 << bits) - 1
    for i in range(0, len(data), bits):
        word = int.from_bytes(data[i : i + bits], "little")
        elements += [word >> (j * bits) & mask for j in range(8)]
    require(
        not any(elements[d:]) and pack(elements[:d], bits) == data, "R-3.11: a spare bit is set"
    )
    return elements[:d]


def mask_lanes(key, d, bits):
    """PRG(key) before reduction modulo 2^b (3.8)."""
    size, code = (2, "H") if bits <= 16 else (4, "I") if bits <= 32 else (8, "Q")
    return struct.unpack(f"<{d}{code}", stream(key)(d * size))


class Bitmap(NamedTuple):
    """A set over `size` places (5.1)."""

    size: int
    data: bytes

    @classmethod
    def read(cls, reader, size):
        bitmap = cls(reader.u32(), reader.vector())
        require(bitmap.size == size, "R-5.2: a bitmap over another set")
        require(len(bitmap.data) == (size + 7) // 8, "R-5.1: wrong number of bytes in a bitmap")
        require(int.from_bytes(bitmap.data, "little") >> size == 0, "R-5.1: a spare bit is set")
        return bitmap

    def encode(self):
        return u32be(self.size) + vector(self.data)

    def members(self):
        return [i for i in range(self.size) if self.data[i // 8] >> (i % 8) & 1]
