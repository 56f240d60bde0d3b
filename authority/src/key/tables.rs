//! ES256 verification with tables of multiples, for keys that many signatures are checked by.
//!
//! A signature `(r, s)` of a message with hash `e` is good if `u1 G + u2 Q`, with `u1 = e/s` and `u2 = r/s`,
//! has `r` as its x coordinate modulo the order (FIPS 186-5 section 6.4.2). Both `G` and the key `Q` are known
//! beforehand, so every window of a scalar finds its multiple in a table and what is left is to add them up:
//! no doublings (E. F. Brickell et al., "Fast Exponentiation with Precomputation", 1992, with signed digits).
//!
//! The [formulas](super::point) for adding do not hold for two equal or opposite points. Where that happens nothing
//! is said, and the general implementation is asked.

use std::{hint::black_box, sync::OnceLock};

use p256::{
    FieldBytes, NonZeroScalar, Scalar,
    elliptic_curve::{PrimeField, ops::Reduce},
};

use super::{
    field::Fe,
    inverse::Modulus,
    point::{self, Affine, Extended, Multiple},
};

/// Bits of a window.
const WINDOW: usize = 8;
/// Windows of a scalar, which is below `2^255` once it has the smaller absolute value.
const WINDOWS: usize = 256 / WINDOW;
/// Multiples for each window, from one to the largest digit.
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// The generator (SEC 2 section 2.4.2).
const GENERATOR: ([u8; 32], [u8; 32]) = (
    [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
        0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98,
        0xc2, 0x96,
    ],
    [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
        0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf,
        0x51, 0xf5,
    ],
);
/// The order of the curve.
pub(super) const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// For the inverse of a scalar.
static MODULO_ORDER: Modulus = Modulus::new(&ORDER);
/// `p` less the order: an x coordinate that is at least the order is one of so few.
const ABOVE_ORDER: [u8; 32] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x43, 0x19, 0x05, 0x53, 0x58, 0xe8, 0x61, 0x7b, 0x0c, 0x46, 0x35, 0x3d, 0x03, 0x9c, 0xda, 0xae,
];

/// Multiples of a point: `d 2^(8 i) P` for each digit `d` from 1 to 128 and each window `i`, 288 KiB.
#[derive(Debug, Default)]
pub(super) struct Multiples(Vec<Affine>);

/// A signature by these tables: what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It verifies.
    Good,
    /// It does not.
    Bad,
    /// The formulas do not say: the general implementation does.
    Unsaid,
}

impl From<bool> for Verdict {
    fn from(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

impl Multiples {
    /// Of a point of the curve, by its coordinates.
    pub(super) fn new(coordinates: ([u8; 32], [u8; 32])) -> Self {
        let base = Affine::of_coordinates(coordinates);
        Self::with_base(base).unwrap_or_default()
    }

    /// The order is a prime far above the digits, so no multiple here is the identity, and no two of a window are
    /// equal or opposite: there always are tables.
    fn with_base(base: Affine) -> Option<Self> {
        // Rows of one multiple for each window, here those of one and two.
        let (mut rows, mut twos) = (vec![base], Vec::new());
        while twos.len() < WINDOWS {
            let mut next = *rows.last()?;
            for bit in 0..WINDOW {
                next = next.doubled()?.small();
                if bit == 0 {
                    twos.push(next);
                }
            }
            rows.push(next);
        }
        rows.truncate(WINDOWS);
        rows.extend(twos);
        // To all that there are but the last one is added that.
        while rows.len() < WINDOWS * MULTIPLES {
            let (before, last) = rows.split_at(rows.len() - WINDOWS);
            let lasts = last.iter().cycle();
            let pairs = before
                .iter()
                .zip(lasts)
                .map(|(own, last)| [own.into(), last.into()]);
            let mut more = Vec::with_capacity(before.len());
            point::sums(&pairs.collect::<Vec<_>>(), |sum| more.push(sum.small()))?;
            rows.extend(more.into_iter().rev());
        }
        rows.truncate(WINDOWS * MULTIPLES);
        rows.shrink_to_fit();
        Some(Self(rows))
    }

    /// Of the generator, which every key needs.
    pub(super) fn of_generator() -> &'static Self {
        static GENERATORS: OnceLock<Multiples> = OnceLock::new();
        GENERATORS.get_or_init(|| Self::new(GENERATOR))
    }

    /// `digit 2^(8 window) P`.
    fn get(&self, window: usize, digit: i16) -> Option<Multiple<'_>> {
        let place = usize::from(digit.unsigned_abs()).checked_sub(1)?;
        Some(Multiple {
            point: self.0.get(place * WINDOWS + window)?,
            negative: digit < 0,
        })
    }

    /// Whether `r` and `s` are a signature over `hash` by the key whose multiples these are.
    pub(super) fn verify(&self, hash: &[u8; 32], r: &NonZeroScalar, s: &NonZeroScalar) -> Verdict {
        let inverse = MODULO_ORDER.inverse_of(&s.to_repr().into());
        let inverse = inverse.and_then(|bytes| Scalar::from_repr(bytes.into()).into_option());
        let Some(inverse) = inverse else {
            return Verdict::Unsaid;
        };
        let e = <Scalar as Reduce<FieldBytes>>::reduce(&(*hash).into());
        let (of_generator, of_key) = (digits(&(e * inverse)), digits(&(**r * inverse)));
        let (generator, mut multiples) = (Self::of_generator(), Vec::with_capacity(2 * WINDOWS));
        for (window, (first, second)) in of_generator.into_iter().zip(of_key).enumerate() {
            multiples.extend(generator.get(window, first));
            multiples.extend(self.get(window, second));
        }
        // Fetched from memory all together, and not each when its turn comes: between verifications most of a table is
        // in none of the nearest caches.
        let ends = multiples.iter().map(Multiple::ends);
        black_box(ends.fold(0, |all, ends| all ^ ends));
        let Some(sum) = sum(&multiples).filter(|sum| !sum.zz.is_zero()) else {
            return Verdict::Unsaid;
        };
        // The x coordinate is below `p`, and `r` what is left of it modulo the order.
        let r: [u8; 32] = r.to_repr().into();
        let is_x = |candidate: &Fe| candidate.times_minus(&sum.zz, &sum.x).is_zero();
        let residue = Fe::from_bytes(&r);
        let above = || residue.plus(&Fe::from_bytes(&ORDER));
        (is_x(&residue) || (r < ABOVE_ORDER && is_x(&above()))).into()
    }
}

/// The sum of multiples, if the formulas hold for it. Pairs take six multiplications each in place of ten, and one
/// inversion together, which those of the pairs' sums would not be worth.
fn sum(multiples: &[Multiple<'_>]) -> Option<Extended> {
    let (pairs, single) = multiples.as_chunks();
    let mut total = single
        .first()
        .map(|single| Extended::from(Affine::from(*single)));
    point::sums(pairs, |sum| match &mut total {
        Some(total) => total.add(&sum),
        None => total = Some(sum.into()),
    })?;
    total
}

/// A scalar, or it less the order, in digits from -128 to 128, the lowest first.
fn digits(scalar: &Scalar) -> [i16; WINDOWS] {
    let negative = scalar.to_repr().first().is_some_and(|byte| *byte >= 0x80);
    let size = if negative { -scalar } else { *scalar };
    let mut bytes: [u8; 32] = size.to_repr().into();
    bytes.reverse();
    // The highest byte is below 128 now, so nothing is carried out.
    let mut carry = 0;
    bytes.map(|byte| {
        let digit = i16::from(byte) + carry;
        carry = i16::from(digit > MULTIPLES as i16);
        let digit = digit - (carry << WINDOW);
        if negative { -digit } else { digit }
    })
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{Signature, signature::hazmat::PrehashVerifier};
    use sha2::{Digest, Sha256};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{
        key::SigningKey,
        testing::{key, raw_signature},
    };

    fn scalar(number: u64) -> NonZeroScalar {
        Option::from(NonZeroScalar::new(Scalar::from(number))).unwrap()
    }

    fn powers_of_two() -> impl Iterator<Item = Scalar> + Clone {
        std::iter::successors(Some(Scalar::ONE), |power| Some(*power + *power))
    }

    fn multiples(key: &SigningKey) -> Multiples {
        Multiples::new(key.verifying_key().coordinates())
    }

    #[test]
    fn the_order_and_what_is_above_it_add_up_to_the_modulus() {
        let sum = Fe::from_bytes(&ORDER).plus(&Fe::from_bytes(&ABOVE_ORDER));
        assert!(sum.is_zero());
        assert!(!Fe::from_bytes(&ABOVE_ORDER).is_zero());
    }

    #[test]
    fn digits_add_up_to_their_scalar() {
        let order_less_one = -Scalar::ONE;
        let numbers = [0, 1, 127, 128, 129, 255, 256, 32_896, u64::MAX].map(Scalar::from);
        let powers = powers_of_two().take(256);
        let below = powers.clone().map(|power| power - Scalar::ONE);
        for scalar in numbers
            .into_iter()
            .chain([order_less_one])
            .chain(powers)
            .chain(below)
        {
            let digits = digits(&scalar);
            let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
                let size = Scalar::from(u64::from(digit.unsigned_abs()));
                let size = if *digit < 0 { -size } else { size };
                sum * Scalar::from(1_u64 << WINDOW) + size
            });
            assert_eq!(sum, scalar);
            assert!(digits.iter().all(|digit| (-128..=128).contains(digit)));
        }
    }

    #[test]
    fn a_table_holds_the_multiples_of_its_point() {
        let secret = Scalar::from(7_u64);
        let mut bytes = [0; 32];
        bytes[31] = 7;
        let table = multiples(&SigningKey::from_bytes(&bytes).unwrap());
        for (window, digit) in [
            (0, 1),
            (0, 2),
            (0, 3),
            (0, 128),
            (1, 1),
            (1, -5),
            (20, 17),
            (31, -127),
            (31, 128),
        ] {
            let found = Affine::from(table.get(window, digit).unwrap());
            let size = Scalar::from(u64::from(digit.unsigned_abs()));
            let size = if digit < 0 { -size } else { size };
            let shift = powers_of_two().nth(window * WINDOW).unwrap();
            let expected = SigningKey::from_bytes(&(secret * size * shift).to_repr()).unwrap();
            let expected = Affine::of_coordinates(expected.verifying_key().coordinates());
            assert!(found.x.minus(&expected.x).is_zero(), "{window} {digit}");
            assert!(found.y.minus(&expected.y).is_zero(), "{window} {digit}");
        }
        assert!(table.get(0, 0).is_none());
    }

    /// Whatever the tables say to a signature, the general implementation says.
    #[test]
    fn signatures_good_and_damaged_get_the_verdict_of_the_general_implementation() {
        let mut said = [0, 0];
        for seed in 1..=3 {
            let secret = key(seed);
            let table = multiples(&secret);
            for message in 0..60_u32 {
                let signed = raw_signature(&message.to_string(), &secret);
                let signature = Signature::from_slice(&signed).unwrap();
                let hash: [u8; 32] = Sha256::digest(message.to_string()).into();
                let (r, s) = signature.split_scalars();
                let mut other = hash;
                other[message as usize % 32] ^= 1 << (message % 8);
                let shifted = Option::from(NonZeroScalar::new(*r + Scalar::ONE)).unwrap();
                for (hash, r, s) in [
                    (hash, r, s),
                    (other, r, s),
                    (hash, shifted, s),
                    (hash, s, r),
                    // The other good signature that each has.
                    (hash, r, -s),
                ] {
                    let general = secret
                        .verifying_key()
                        .point
                        .verify_prehash(&hash, &Signature::from_scalars(r, s).unwrap());
                    let expected = if general.is_ok() {
                        Verdict::Good
                    } else {
                        Verdict::Bad
                    };
                    assert_eq!(table.verify(&hash, &r, &s), expected);
                    said[usize::from(general.is_ok())] += 1;
                }
            }
        }
        assert_eq!(said, [540, 360]);
    }

    /// Sums that the formulas do not hold for: with the right key both multiples of a window are the same point or
    /// opposite ones, or the sum so far and the one that is added to it.
    #[test]
    fn where_the_formulas_do_not_hold_nothing_is_said() {
        let secret = |number: i64| {
            let size = Scalar::from(number.unsigned_abs());
            let scalar = if number < 0 { -size } else { size };
            SigningKey::from_bytes(&scalar.to_repr()).unwrap()
        };
        for (own, e, r) in [
            (1, 5, 5),
            (-1, 5, 5),
            (1, 256, 256),
            (255, 257, 1),
            (-257, 257, 1),
        ] {
            // `s = 1`: then `u1` is the hash and `u2` is `r`.
            let mut hash = [0; 32];
            hash[30..].copy_from_slice(&u16::to_be_bytes(e));
            let tables = multiples(&secret(own));
            assert_eq!(
                tables.verify(&hash, &scalar(r), &scalar(1)),
                Verdict::Unsaid,
                "{own}"
            );
            assert_ne!(
                tables.verify(&hash, &scalar(r + 2), &scalar(1)),
                Verdict::Unsaid,
                "{own}"
            );
        }
        // And the key decides all the same.
        let key = secret(1).verifying_key().with_tables();
        let signature = raw_signature("any", &secret(1));
        assert!(key.verifies(b"any", &signature));
        assert!(!key.verifies(b"other", &signature));
    }
}
