//! Keys and signatures, held against every vector that Wycheproof has for ES256.

use p256::{
    FieldBytes, ProjectivePoint, Scalar,
    ecdsa::signature::hazmat::PrehashVerifier,
    elliptic_curve::{ops::Reduce, point::AffineCoordinates},
};
use serde::Deserialize;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::testing::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key: PublicKey,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
struct PublicKey {
    uncompressed: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    msg: String,
    sig: String,
    result: String,
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_wycheproof_vector_gets_its_verdict() {
    let vectors: Vectors = serde_json::from_str(include_str!(
        "../../testdata/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json"
    ))
    .unwrap();
    let (mut run, mut valid) = (0, 0);
    for group in &vectors.test_groups {
        let point = unhex(&group.public_key.uncompressed);
        assert_eq!((point.len(), point[0]), (65, 4));
        let (x, y) = point[1..].split_at(32);
        let key = VerifyingKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap());
        let key = key.unwrap();
        let prepared = key.clone().with_tables();
        for vector in &group.tests {
            let expected = match vector.result.as_str() {
                "valid" | "acceptable" => true,
                "invalid" => false,
                other => panic!("the verdict {other:?}"),
            };
            let (message, signature) = (unhex(&vector.msg), unhex(&vector.sig));
            for key in [&key, &prepared] {
                let verifies = key.verifies(&message, &signature);
                assert_eq!(verifies, expected, "{}: {}", vector.tc_id, vector.comment);
            }
            run += 1;
            valid += usize::from(expected);
        }
    }
    assert_eq!(run, vectors.number_of_tests);
    assert_eq!((run, valid), (262, 173));
}

#[test]
fn signatures_without_randomness_are_those_of_rfc_6979() {
    // Appendix A.2.5, message "sample" with SHA-256.
    let key = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
    let key = SigningKey::from_bytes(&unhex(key)).unwrap();
    let (x, y) = key.verifying_key().coordinates();
    assert_eq!(
        x.to_vec(),
        unhex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6")
    );
    assert_eq!(
        y.to_vec(),
        unhex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299")
    );
    let expected = unhex(concat!(
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ));
    let signature = key.sign_without_randomness(b"sample");
    assert_eq!(signature.to_bytes().to_vec(), expected);
    assert!(key.verifying_key().verifies(b"sample", &expected));
}

/// The general implementation stands in for ring without a word, so that nothing else would tell.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn natively_a_signature_has_a_nonce_of_its_own() {
    let key = key(7);
    assert_ne!(key.sign(b"sample"), key.sign(b"sample"));
}

/// What is minted natively is not signed by who verifies it.
#[test]
fn signatures_are_good_to_every_verifier_and_of_one_key_only() {
    for secret in 1..40 {
        let message = [secret; 100];
        let message = &message[..usize::from(secret)];
        let (own, other) = (key(secret), key(secret + 1));
        let signatures = [
            own.sign(message),
            own.clone().sign(message),
            own.sign_without_randomness(message),
        ];
        for signature in signatures {
            let signature = signature.to_bytes();
            for verifier in [own.verifying_key(), own.verifying_key().with_tables()] {
                assert!(verifier.verifies(message, &signature));
                assert!(!verifier.verifies(b"another", &signature));
            }
            assert!(!other.verifying_key().verifies(message, &signature));
        }
    }
}

#[test]
fn a_private_key_comes_back_from_its_bytes_and_shows_none_of_them() {
    let key = key(7);
    assert_eq!(*key.to_bytes(), [7; 32]);
    assert_eq!(format!("{key:?}"), "SigningKey(..)");
    let mut largest = ORDER;
    largest[31] -= 1;
    for scalar in [&largest, &[1; 32]] {
        assert!(SigningKey::from_bytes(scalar).is_ok());
    }
    for bytes in [&[0; 32][..], &ORDER, &[0xff; 32], &[1; 31], &[1; 33], &[]] {
        assert!(SigningKey::from_bytes(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_public_key_is_a_point_on_the_curve() {
    let (x, y) = zone_key().verifying_key().coordinates();
    let key = VerifyingKey::from_coordinates(&x, &y).unwrap();
    assert_eq!(key, zone_key().verifying_key());
    let mut off = y;
    off[31] ^= 1;
    for (x, y) in [
        (x, off),
        (y, x),
        ([0; 32], [0; 32]),
        ([0xff; 32], y),
        (x, [0xff; 32]),
    ] {
        assert!(VerifyingKey::from_coordinates(&x, &y).is_err());
    }
}

/// Numbers as good as random, the same ones every time (SplitMix64: Steele, Lea and Flood 2014).
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }

    /// A scalar of the kinds that arithmetic by windows goes wrong on: long runs of zeros or ones, a few bits,
    /// either end of the range, and any.
    pub(super) fn scalar(&mut self) -> Scalar {
        let small = Scalar::from(self.next() % 70);
        let mut bytes = self.bytes();
        match self.next() % 6 {
            0 => return small,
            1 => return -small,
            2 => bytes[..(self.next() % 32) as usize].fill(0),
            3 => bytes[(self.next() % 32) as usize..].fill(0xff),
            4 => {
                bytes = [0; 32];
                for _ in 0..3 {
                    let bit = (self.next() % 256) as usize;
                    bytes[bit / 8] |= 1 << (bit % 8);
                }
            }
            _ => {}
        }
        <Scalar as Reduce<FieldBytes>>::reduce(&bytes.into())
    }
}

#[test]
fn the_tables_say_what_the_crate_says_of_whatever_comes() {
    let mut draws = Draws(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..16 {
        let secret = loop {
            let scalar = draws.scalar();
            if let Ok(key) = SigningKey::from_bytes(&scalar.to_bytes()) {
                break key;
            }
        };
        let key = secret.verifying_key();
        let tables = Multiples::new(key.coordinates());
        let point = ProjectivePoint::from(*key.point.as_affine());
        let mut agree = |hash: [u8; 32], signature: &ecdsa::Signature| {
            let (r, s) = signature.split_scalars();
            let slow = key.point.verify_prehash(&hash, signature).is_ok();
            match tables.verify(&hash, &r, &s) {
                Verdict::Good => assert!(slow, "{hash:?} {signature:?}"),
                Verdict::Bad => assert!(!slow, "{hash:?} {signature:?}"),
                Verdict::Unsaid => {}
            }
            *(if slow { &mut good } else { &mut bad }) += 1;
        };
        for _ in 0..24 {
            // A signature that is good, by whatever multiples of both points this is to go.
            let (u1, u2) = (draws.scalar(), draws.scalar());
            let sum = (ProjectivePoint::GENERATOR * u1 + point * u2).to_affine();
            let r = <Scalar as Reduce<FieldBytes>>::reduce(&sum.x());
            let inverse = Option::<Scalar>::from(u2.invert()).unwrap_or(Scalar::ONE);
            let s = r * inverse;
            let hash: [u8; 32] = (u1 * s).to_bytes().into();
            let Ok(made) = ecdsa::Signature::from_scalars(r, s) else {
                continue;
            };
            agree(hash, &made);
            if let Ok(other) = ecdsa::Signature::from_scalars(r, -s) {
                agree(hash, &other);
            }
            // One that a bit of it keeps from being good, and one of any two numbers.
            let (mut bytes, bit) = (made.to_bytes(), (draws.next() % 512) as usize);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = ecdsa::Signature::from_slice(&bytes);
            let any = ecdsa::Signature::from_scalars(draws.scalar(), draws.scalar());
            for signature in [changed, any].into_iter().flatten() {
                agree(hash, &signature);
            }
            agree(draws.bytes(), &made);
        }
    }
    assert!(good > 500 && bad > 700, "{good} good, {bad} bad");
}
