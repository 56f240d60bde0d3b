//! Inverses modulo an odd number of 256 bits, by divsteps (D. J. Bernstein and B.-Y. Yang, "Fast constant-time gcd
//! computation and modular inversion", 2019), here in variable time: verification knows no secret.
//!
//! A divstep takes `f`, which is odd, and `g` to `(g, (g - f) / 2)` if `g` is odd and a counter above zero, and to
//! `(f, (g + (g mod 2) f) / 2)` otherwise. Their common divisors stay the same; at last `g` is zero and `f`, but for
//! its sign, the greatest one. What 30 divsteps do depends on the lowest 30 bits of both and is a matrix with entries
//! of 31 bits, so numbers have signed limbs of 30 bits: an `i64` takes the sum of several products of an entry and a
//! limb. `d` and `e` go along so that `d x = f` and `e x = g` modulo the modulus, where `x` is what is to be inverted;
//! at last `d` is its inverse or the negative of that. (libsecp256k1's `safegcd_implementation.md` explains all of
//! this, and the bounds below.)

#![allow(
    clippy::indexing_slicing,
    reason = "indices are constants of this module, or a number of limbs that only goes down from theirs"
)]

use super::field::{self, LIMBS, limbs};

/// Bits of a limb, and divsteps of a batch.
const BITS: u32 = 30;
const MASK: i64 = (1 << BITS) - 1;
/// Batches after which `g` is zero, whatever it was: 741 divsteps do for 256 bits (theorem 11.2 of the paper).
const BATCHES: u32 = 741_u32.div_ceil(BITS);

/// Limbs between 0 and `2^30 - 1`, but for the highest, which has the sign.
type Limbs = [i64; LIMBS];

/// An odd number above `2^255`.
#[derive(Debug)]
pub(super) struct Modulus {
    limbs: Limbs,
    /// Its inverse modulo `2^30`.
    inverse: i64,
}

/// What a batch of divsteps makes of `f` and `g`: `(u f + v g, q f + r g) / 2^30`. The absolute values of `u` and `v`
/// add up to at most `2^30`, and those of `q` and `r`.
#[derive(Clone, Copy, Debug)]
struct Batch {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

impl Modulus {
    /// Of big-endian bytes.
    pub(super) const fn new(bytes: &[u8; 32]) -> Self {
        let limbs = limbs::<BITS>(bytes);
        // An odd number is its own inverse modulo 8, and each step doubles the bits (Newton).
        let mut inverse = limbs[0];
        let mut bits = 3;
        while bits < BITS {
            let less = inverse.wrapping_mul(limbs[0]) & MASK;
            inverse = inverse.wrapping_mul(2 - less) & MASK;
            bits *= 2;
        }
        Self { limbs, inverse }
    }

    /// The inverse of what big-endian bytes count to, which is to be below the modulus, if it has one.
    pub(super) fn inverse_of(&self, bytes: &[u8; 32]) -> Option<[u8; 32]> {
        let (mut f, mut g) = (self.limbs, limbs::<BITS>(bytes));
        let (mut d, mut e) = ([0; LIMBS], [0; LIMBS]);
        e[0] = 1;
        let mut eta = -1;
        let mut length = LIMBS;
        for _ in 0..BATCHES {
            let batch = Batch::new(&mut eta, f[0], g[0]);
            batch.on_cofactors(&mut d, &mut e, self);
            batch.on_numbers(&mut f, &mut g, length);
            // Both become shorter: what only says the sign goes into the limb below.
            while length > 1 && is_sign(f[length - 1]) && is_sign(g[length - 1]) {
                length -= 1;
                f[length - 1] |= f[length] << BITS;
                g[length - 1] |= g[length] << BITS;
            }
            if length == 1 && g[0] == 0 {
                return match f[0] {
                    1 => Some(self.bytes(d, false)),
                    -1 => Some(self.bytes(d, true)),
                    _ => None,
                };
            }
        }
        None
    }

    /// The bytes of a number between `-2m` and `m`, or of its negative, modulo `m`.
    fn bytes(&self, mut limbs: Limbs, negative: bool) -> [u8; 32] {
        self.add_if_negative(&mut limbs);
        if negative {
            limbs = limbs.map(|limb| -limb);
            carry(&mut limbs);
        }
        self.add_if_negative(&mut limbs);
        field::bytes::<BITS>(&limbs)
    }

    fn add_if_negative(&self, limbs: &mut Limbs) {
        if limbs[LIMBS - 1] < 0 {
            for (limb, own) in limbs.iter_mut().zip(self.limbs) {
                *limb += own;
            }
            carry(limbs);
        }
    }
}

/// Whether a highest limb says no more than the sign.
fn is_sign(limb: i64) -> bool {
    limb == 0 || limb == -1
}

/// Brings all limbs but the highest between 0 and `2^30 - 1`.
fn carry(limbs: &mut Limbs) {
    for place in 1..LIMBS {
        limbs[place] += limbs[place - 1] >> BITS;
        limbs[place - 1] &= MASK;
    }
}

impl Batch {
    /// By the lowest limbs. `eta` is the paper's `delta`, negative.
    fn new(eta: &mut i64, mut f: i64, mut g: i64) -> Self {
        // Two entries go in one number, `u + 2^32 v` and `q + 2^32 r`: what is done to one is done to the other.
        let (mut uv, mut qr) = (1_i64, 1_i64 << 32);
        let mut left = BITS;
        loop {
            // As many divsteps as `g` is even for.
            let zeros = (g | (-1 << left)).trailing_zeros();
            g >>= zeros;
            uv <<= zeros;
            *eta -= i64::from(zeros);
            left -= zeros;
            if left == 0 {
                break;
            }
            if *eta < 0 {
                *eta = -*eta;
                (f, g) = (g, -f);
                (uv, qr) = (qr, -uv);
            }
            // Until `f` and `g` change places again, or the batch ends, divsteps only add `f` to `g`: as often as
            // clears the bits that they take away, and no more than six of them at once. `f (2 - f^2)` is the
            // inverse of `f` modulo 64.
            let bits = (*eta + 1).min(i64::from(left)).min(6);
            let times = g.wrapping_mul(f).wrapping_mul(f.wrapping_mul(f) - 2) & ((1 << bits) - 1);
            g += f * times;
            qr += uv * times;
        }
        let split = |both: i64| {
            let low = i64::from(both as i32);
            (low, (both - low) >> 32)
        };
        let ((u, v), (q, r)) = (split(uv), split(qr));
        Self { u, v, q, r }
    }

    /// `f` and `g` after the batch, of so many limbs. The lowest 30 bits are zero before dividing.
    #[inline(always)]
    fn on_numbers(self, f: &mut Limbs, g: &mut Limbs, length: usize) {
        let Self { u, v, q, r } = self;
        let (mut next_f, mut next_g) =
            ((u * f[0] + v * g[0]) >> BITS, (q * f[0] + r * g[0]) >> BITS);
        for place in 1..length.min(LIMBS) {
            next_f += u * f[place] + v * g[place];
            next_g += q * f[place] + r * g[place];
            f[place - 1] = next_f & MASK;
            g[place - 1] = next_g & MASK;
            next_f >>= BITS;
            next_g >>= BITS;
        }
        f[length - 1] = next_f;
        g[length - 1] = next_g;
    }

    /// `d` and `e` after the batch: the same, plus as many times the modulus as makes the lowest 30 bits zero. Both
    /// are between `-2m` and `m` before and after: to a negative one the modulus is added first.
    #[inline(always)]
    fn on_cofactors(self, d: &mut Limbs, e: &mut Limbs, modulus: &Modulus) {
        let Self { u, v, q, r } = self;
        let (sign_d, sign_e) = (d[LIMBS - 1] >> 63, e[LIMBS - 1] >> 63);
        let (mut next_d, mut next_e) = (u * d[0] + v * e[0], q * d[0] + r * e[0]);
        let times =
            |added: i64, next: i64| added - (((next & MASK) * modulus.inverse + added) & MASK);
        let times_d = times((u & sign_d) + (v & sign_e), next_d);
        let times_e = times((q & sign_d) + (r & sign_e), next_e);
        next_d = (next_d + modulus.limbs[0] * times_d) >> BITS;
        next_e = (next_e + modulus.limbs[0] * times_e) >> BITS;
        for place in 1..LIMBS {
            next_d += u * d[place] + v * e[place] + modulus.limbs[place] * times_d;
            next_e += q * d[place] + r * e[place] + modulus.limbs[place] * times_e;
            d[place - 1] = next_d & MASK;
            e[place - 1] = next_e & MASK;
            next_d >>= BITS;
            next_e >>= BITS;
        }
        d[LIMBS - 1] = next_d;
        e[LIMBS - 1] = next_e;
    }
}

#[cfg(test)]
mod tests {
    use p256::{
        FieldBytes, Scalar,
        elliptic_curve::{PrimeField, ops::Reduce},
    };
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::key::{
        field::{Fe, MODULUS},
        tables::ORDER,
        tests::Draws,
    };

    fn number(low: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[31] = low;
        bytes
    }

    /// `2^bit`, and that less one and more one.
    fn around_powers() -> impl Iterator<Item = [u8; 32]> {
        (1..255).flat_map(|bit: usize| {
            let mut power = [0; 32];
            power[31 - bit / 8] = 1 << (bit % 8);
            let mut below = [0xff; 32];
            below[..31 - bit / 8].fill(0);
            below[31 - bit / 8] = (1 << (bit % 8)) - 1;
            let mut above = power;
            above[31] |= 1;
            [power, below, above]
        })
    }

    #[test]
    fn inverses_modulo_the_order_are_those_of_the_crate() {
        let order = Modulus::new(&ORDER);
        let mut draws = Draws::new(3);
        let drawn = (0..3_000).map(|_| draws.scalar());
        let edges =
            around_powers().map(|bytes| <Scalar as Reduce<FieldBytes>>::reduce(&bytes.into()));
        let mut largest = 0;
        for scalar in drawn.chain(edges).flat_map(|scalar| [scalar, -scalar]) {
            let found = order.inverse_of(&scalar.to_repr().into());
            let expected = Option::<Scalar>::from(scalar.invert());
            assert_eq!(
                found,
                expected.map(|inverse| inverse.to_repr().into()),
                "{scalar:?}"
            );
            largest = largest.max(found.map_or(0, |bytes| bytes[0]));
        }
        assert_eq!(largest, 0xff);
    }

    #[test]
    fn a_number_times_its_inverse_is_one_in_the_field() {
        let field = Modulus::new(&MODULUS);
        let mut draws = Draws::new(4);
        let drawn = (0..1_000).map(|_| draws.scalar().to_repr().into());
        for bytes in around_powers()
            .chain(drawn)
            .filter(|bytes| *bytes != [0; 32])
        {
            let inverse = field.inverse_of(&bytes).unwrap();
            assert!(inverse < MODULUS);
            let product = Fe::from_bytes(&bytes).times(&Fe::from_bytes(&inverse));
            assert!(product.minus(&Fe::one()).is_zero(), "{bytes:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_have_their_inverses() {
        for modulus in [ORDER, MODULUS] {
            let mut below = modulus;
            below[31] -= 1;
            let inverse_of = |bytes| Modulus::new(&modulus).inverse_of(&bytes);
            assert_eq!(inverse_of(number(1)), Some(number(1)));
            assert_eq!(inverse_of(below), Some(below));
            assert_eq!(inverse_of(number(0)), None);
        }
    }

    #[test]
    fn what_has_a_divisor_in_common_with_the_modulus_has_no_inverse() {
        // 2^256 - 1 has the divisors 3, 5 and 17.
        let composite = Modulus::new(&[0xff; 32]);
        for low in [3, 5, 17, 6, 15, 255] {
            assert_eq!(composite.inverse_of(&number(low)), None, "{low}");
        }
        let mut half = [0; 32];
        half[0] = 0x80;
        assert_eq!(composite.inverse_of(&number(2)), Some(half));
    }

    /// The matrix of a batch is the divsteps of the definition, one by one.
    #[test]
    fn a_batch_is_its_divsteps() {
        let mut draws = Draws::new(5);
        for round in 0..2_000_i64 {
            let word = draws.next() as i64;
            let (low_f, low_g) = (word & MASK | 1, (word >> BITS) & MASK);
            // Often far from zero, where many divsteps pass without a change of places.
            let start = if round % 2 == 0 { -1 } else { round % 80 - 40 };
            let mut eta = start;
            let batch = Batch::new(&mut eta, low_f, low_g);
            let (mut delta, mut f, mut g) = (-start, i128::from(low_f), i128::from(low_g));
            let (mut u, mut v, mut q, mut r) = (1_i64, 0_i64, 0_i64, 1_i64);
            for _ in 0..BITS {
                let odd = g & 1 == 1;
                if odd && delta > 0 {
                    (delta, f, g) = (1 - delta, g, (g - f) / 2);
                    (u, v, q, r) = (2 * q, 2 * r, q - u, r - v);
                } else {
                    (delta, g) = (1 + delta, (g + if odd { f } else { 0 }) / 2);
                    (q, r) = if odd { (q + u, r + v) } else { (q, r) };
                    (u, v) = (2 * u, 2 * v);
                }
            }
            assert_eq!((batch.u, batch.v, batch.q, batch.r), (u, v, q, r));
            assert_eq!(eta, -delta);
            assert!(u.abs() + v.abs() <= 1 << BITS && q.abs() + r.abs() <= 1 << BITS);
        }
    }
}
