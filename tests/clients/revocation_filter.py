"""Reads revocation filters by their description in docs/reference/revocation-filter.md.

It shares no code with the implementation in Rust: run on the samples in authority/testdata/revocation,
it must come to the same answers.

    python revocation_filter.py DIRECTORY
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

KINDS = {
    "jti": 1,
    "sid": 2,
    "root_sid": 3,
    "agent_session_id": 4,
    "delegation_edge_id": 5,
    "client_id": 6,
    "zone_id": 7,
    "kid": 8,
    "sub": 9,
}


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(body: bytes, signature: str, keys: list) -> None:
    header, signed = signature.split("..")
    names = json.loads(unbase64(header))
    assert names["typ"] == "caracal-revocations+jws" and names["alg"] == "ES256", names
    (key,) = [key for key in keys if key["kid"] == names["kid"]]
    x, y = (int.from_bytes(unbase64(key[name])) for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    raw = unbase64(signed)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    payload = base64.urlsafe_b64encode(body).rstrip(b"=")
    public.verify(
        utils.encode_dss_signature(r, s),
        header.encode() + b"." + payload,
        ec.ECDSA(SHA256()),
    )


class Publication:
    def __init__(self, body: bytes):
        self.rest = body
        assert self.take(4) == b"CRVF", "magic"
        (version, kind, length) = self.unpack("<BBH")
        assert version == 1, "version"
        self.kind = {0: "delta", 1: "exact", 2: "bloom"}[kind]
        self.zone_id = self.take(length).decode()
        self.hash_key = self.take(16)
        self.after, self.epoch, self.changed_at = self.unpack("<QQQ")
        self.cutoffs = {}
        for _ in range(self.unpack("<I")[0]):
            digest = self.take(16)
            (self.cutoffs[digest],) = self.unpack("<Q")
        self.added = [self.take(16) for _ in range(self.unpack("<I")[0])]
        self.removed = [self.take(16) for _ in range(self.unpack("<I")[0])]
        self.load = None
        if self.kind != "delta":
            (self.load,) = self.unpack("<Q")
        if self.kind == "exact":
            self.base = [self.take(16) for _ in range(self.load)]
            assert self.base == sorted(set(self.base)), "ascending"
        if self.kind == "bloom":
            size, self.probes = self.unpack("<IB")
            self.bits = self.take(size)
        assert not self.rest, "something follows"

    def take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        assert len(taken) == length, "cut off"
        return taken

    def unpack(self, form: str) -> tuple:
        return struct.unpack(form, self.take(struct.calcsize(form)))


class Filter:
    def __init__(self, whole: Publication):
        assert whole.kind != "delta"
        self.whole, self.epoch = whole, whole.epoch
        self.added, self.removed = set(), set()
        self.change(whole)

    def apply(self, delta: Publication) -> None:
        assert delta.kind == "delta" and delta.after <= self.epoch < delta.epoch
        self.change(delta)
        self.epoch = delta.epoch

    def change(self, publication: Publication) -> None:
        self.added = (self.added | set(publication.added)) - set(publication.removed)
        self.removed = (self.removed - set(publication.added)) | set(publication.removed)

    def digest(self, kind: str, id: str) -> bytes:
        text = self.whole.hash_key + bytes([KINDS[kind]]) + id.encode()
        return hashlib.sha256(text).digest()[:16]

    def answer(self, digest: bytes) -> str:
        if digest in self.added:
            return "revoked"
        if digest in self.removed or not self.in_base(digest):
            return "clear"
        return "revoked" if self.whole.kind == "exact" else "suspect"

    def in_base(self, digest: bytes) -> bool:
        if self.whole.kind == "exact":
            return digest in self.whole.base
        bits = self.whole.bits
        place, step = (int.from_bytes(half, "little") for half in (digest[:8], digest[8:]))
        count = 8 * len(bits)
        place, step = place % count, step % count
        for number in range(1, self.whole.probes + 1):
            if not bits[place // 8] & 1 << place % 8:
                return False
            place, step = (place + step) % count, (step + number) % count
        return True


def main(directory: pathlib.Path) -> None:
    samples = json.loads((directory / "vectors.json").read_text())
    assert samples["kinds"] == KINDS
    answers = 0
    for sample in samples["vectors"]:
        body = (directory / sample["file"]).read_bytes()
        verify(body, sample["signature"], samples["jwks"]["keys"])
        publication = Publication(body)
        assert publication.zone_id == sample["zone_id"], sample["file"]
        assert publication.hash_key.hex() == sample["hash_key"]
        assert publication.kind == sample["kind"]
        assert publication.after == (sample["after"] or 0)
        assert publication.epoch == sample["epoch"]
        assert publication.changed_at == sample["changed_at"]
        assert publication.load == sample["load"]
        assert [d.hex() for d in publication.added] == sample["added"]
        assert [d.hex() for d in publication.removed] == sample["removed"]
        assert [[d.hex(), t] for d, t in publication.cutoffs.items()] == sample["cutoffs"]
        if sample["on"]:
            filter = Filter(Publication((directory / sample["on"]).read_bytes()))
            filter.apply(publication)
        else:
            filter = Filter(publication)
        for question in sample["answers"]:
            digest = filter.digest(question["kind"], question["id"])
            assert digest.hex() == question["digest"], question
            assert filter.answer(digest) == question["answer"], (sample["file"], question)
            answers += 1
    print(f"{len(samples['vectors'])} samples, {answers} answers")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
