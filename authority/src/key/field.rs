//! The field of P-256 for verification: integers modulo
//! `p = 2^256 - 2^224 + 2^192 + 2^96 - 1` (SEC 2 section 2.4.2), in Montgomery form.
//!
//! WebAssembly multiplies 64 by 64 bits to 64, so an element is nine limbs of 29 bits, with whose products an
//! `i64` has room for adding before reducing. `-1/p` is 1 modulo `2^96`, so a step of the Montgomery reduction
//! (P. L. Montgomery, "Modular Multiplication Without Trial Division", 1985) takes shifts and no
//! multiplication. Nothing here takes constant time: verification knows no secret.
//!
//! Bounds. A *tight* element has limbs between 0 and `2^29 - 1` but for the highest, which has the sign and,
//! with values below `16p` in absolute value, is at most `2^28` in absolute value. What a multiplication gives
//! is tight. The limbs of a sum or difference are at most the sum of the limbs' bounds. A column of a product
//! has at most nine terms and the reduction, its carry and what is subtracted along with it add less than
//! `2^54`, so nine times the product of the operands' bounds must stay below `2^63 - 2^54`: `2^59.8`. One by
//! one tight elements have `2^58`; so sums of two by tight ones are fine, and so are tight ones by tight ones
//! or a difference, plus the same again. Products `ab` come out between `-|ab| / 32p` and `|ab| / 32p + p`.

#![allow(
    clippy::indexing_slicing,
    reason = "every index is made of constants of this module; no input chooses one"
)]

#[cfg(test)]
mod tests;

use super::inverse::Modulus;

/// Limbs of an element, and bits of a limb.
pub(super) const LIMBS: usize = 9;
const BITS: u32 = 29;
const MASK: i64 = (1 << BITS) - 1;

/// `p`.
pub(super) const MODULUS: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];
/// For inverses.
static MODULO_P: Modulus = Modulus::new(&MODULUS);
/// Its limbs, between 0 and `2^29`.
const P: [i64; LIMBS] = limbs::<BITS>(&MODULUS);
/// `R^2 mod p` with `R = 2^261`, which a multiplication by makes a Montgomery form of.
const R_SQUARED: Fe = Fe::of_limbs(limbs::<BITS>(&[
    0x00, 0x00, 0x13, 0xff, 0xff, 0xff, 0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb, 0xff,
    0xff, 0xff, 0xef, 0xff, 0xff, 0xff, 0xfc, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00,
]));

/// An element of the field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fe([i32; LIMBS]);

impl Fe {
    /// Nothing.
    pub(super) const ZERO: Self = Self([0; LIMBS]);

    const fn of_limbs(wide: [i64; LIMBS]) -> Self {
        let mut limbs = [0; LIMBS];
        let mut place = 0;
        while place < LIMBS {
            limbs[place] = wide[place] as i32;
            place += 1;
        }
        Self(limbs)
    }

    pub(super) fn lowest_limb(&self) -> i32 {
        self.0[0]
    }

    pub(super) fn highest_limb(&self) -> i32 {
        self.0[LIMBS - 1]
    }

    /// One.
    pub(super) fn one() -> Self {
        let mut one = Self::ZERO;
        one.0[0] = 1;
        one.times(&R_SQUARED)
    }

    /// Of 32 big-endian bytes; what they count to may be above `p`. Tight.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self::of_limbs(limbs::<BITS>(bytes)).times(&R_SQUARED)
    }

    /// The sum; its limbs' bounds are the sum of both.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place] + other.0[place]))
    }

    /// The difference; its limbs' bounds are the sum of both.
    pub(super) fn minus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place] - other.0[place]))
    }

    /// The same value, or its negative.
    pub(super) fn signed(&self, negative: bool) -> Self {
        let sign = if negative { -1 } else { 1 };
        Self(self.0.map(|limb| limb * sign))
    }

    /// The same value with tight limbs.
    pub(super) fn tight(&self) -> Self {
        let mut carry = 0;
        let mut limbs = self.0.map(|limb| {
            let sum = i64::from(limb) + carry;
            carry = sum >> BITS;
            (sum & MASK) as i32
        });
        // The highest limb is small, because the value is, and keeps what it would carry.
        limbs[LIMBS - 1] += (carry << BITS) as i32;
        Self(limbs)
    }

    /// The product. Tight.
    pub(super) fn times(&self, other: &Self) -> Self {
        reduced(|column| product(self, other, column))
    }

    /// `self * other - less`. Tight.
    pub(super) fn times_minus(&self, other: &Self, less: &Self) -> Self {
        reduced(|column| product(self, other, column) - limb_above(less, column))
    }

    /// The square. Tight.
    pub(super) fn squared(&self) -> Self {
        reduced(|column| square(self, column))
    }

    /// The square less `first` and `second`. Tight.
    pub(super) fn squared_minus(&self, first: &Self, second: &Self) -> Self {
        let mut result = Self::ZERO;
        result.set_squared_minus(self, first, second);
        result
    }

    // What is changed in place. A result that is moved after it was made is copied in words of two limbs, and a
    // processor that has just written both of them waits until it may read them as one.

    /// Becomes the product. Tight.
    pub(super) fn multiply(&mut self, other: &Self) {
        *self = reduced(|column| product(self, other, column));
    }

    /// Becomes `first * second - self * other` for little more than one product. Tight.
    pub(super) fn subtract_from_product(&mut self, other: &Self, first: &Self, second: &Self) {
        *self = reduced(|column| product(first, second, column) - product(self, other, column));
    }

    /// Becomes the square of `root` less `first` and `second`. Tight.
    pub(super) fn set_squared_minus(&mut self, root: &Self, first: &Self, second: &Self) {
        *self = reduced(|column| {
            square(root, column) - limb_above(first, column) - limb_above(second, column)
        });
    }

    /// What it counts to, between 0 and `p - 1`, in limbs between 0 and `2^29`.
    fn canonical(&self) -> [i64; LIMBS] {
        let mut one = Self::ZERO;
        one.0[0] = 1;
        // Out of Montgomery form: between 0 and `p`, both included.
        let value = self.times(&one).0.map(i64::from);
        if value == P { [0; LIMBS] } else { value }
    }

    /// Whether it is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.canonical() == [0; LIMBS]
    }

    /// Its inverse; zero has none.
    pub(super) fn inverse(&self) -> Option<Self> {
        MODULO_P
            .inverse_of(&bytes::<BITS>(&self.canonical()))
            .map(|inverse| Self::from_bytes(&inverse))
    }
}

/// Column `column` of a product.
#[inline(always)]
fn product(first: &Fe, second: &Fe, column: usize) -> i64 {
    let mut sum = 0;
    let mut place = column.saturating_sub(LIMBS - 1);
    while place < LIMBS && place <= column {
        sum += i64::from(first.0[place]) * i64::from(second.0[column - place]);
        place += 1;
    }
    sum
}

/// Column `column` of a square: what is there twice is multiplied once.
#[inline(always)]
fn square(base: &Fe, column: usize) -> i64 {
    let mut sum = 0;
    let mut place = column.saturating_sub(LIMBS - 1);
    while place < LIMBS && 2 * place < column {
        sum += i64::from(base.0[place]) * i64::from(base.0[column - place]);
        place += 1;
    }
    sum *= 2;
    if column.is_multiple_of(2) && column / 2 < LIMBS {
        sum += i64::from(base.0[column / 2]) * i64::from(base.0[column / 2]);
    }
    sum
}

/// The limb that a reduction leaves of column `column`.
#[inline(always)]
fn limb_above(value: &Fe, column: usize) -> i64 {
    match column.checked_sub(LIMBS) {
        Some(place) => i64::from(value.0[place]),
        None => 0,
    }
}

/// The Montgomery reduction of what has these columns. Each of the lower nine is cleared by as many times
/// `p = -1 + 2^96 + 2^192 - 2^224 + 2^256` as its lowest 29 bits say; the upper nine are the result.
#[inline(always)]
fn reduced(columns: impl Fn(usize) -> i64) -> Fe {
    let mut times = [0; LIMBS];
    let mut limbs = [0; LIMBS];
    let mut carry = 0;
    // Written out, because a loop would be kept as one.
    macro_rules! lower {
        ($($column:literal)*) => {$(
            let sum = carry + columns($column) + multiples(&times, $column);
            times[$column] = sum & MASK;
            carry = sum >> BITS;
        )*};
    }
    macro_rules! upper {
        ($($limb:literal)*) => {$(
            let sum = carry + columns(LIMBS + $limb) + multiples(&times, LIMBS + $limb);
            carry = sum >> BITS;
            limbs[$limb] = (sum & MASK) as i32;
        )*};
    }
    lower!(0 1 2 3 4 5 6 7 8);
    upper!(0 1 2 3 4 5 6 7);
    // The highest limb is small, because the value is.
    limbs[LIMBS - 1] = (carry + columns(2 * LIMBS - 1)) as i32;
    Fe(limbs)
}

/// What the multiples of `p` so far add to a column.
#[inline(always)]
fn multiples(times: &[i64; LIMBS], column: usize) -> i64 {
    let from = |places: usize| match column.checked_sub(places) {
        Some(place) if place < LIMBS => times[place],
        _ => 0,
    };
    // 2^96, 2^192, -2^224 and 2^256, in limbs of 29 bits.
    (from(3) << 9) + (from(6) << 18) - (from(7) << 21) + (from(8) << 24)
}

/// The limbs of a big-endian number of 256 bits, each of so many bits.
pub(super) const fn limbs<const BITS: u32>(bytes: &[u8; 32]) -> [i64; LIMBS] {
    let mut limbs = [0; LIMBS];
    let (mut held, mut bits) = (0, 0);
    let (mut byte, mut limb) = (32, 0);
    while byte > 0 {
        byte -= 1;
        held |= (bytes[byte] as i64) << bits;
        bits += 8;
        if bits >= BITS {
            limbs[limb] = held & ((1 << BITS) - 1);
            held >>= BITS;
            bits -= BITS;
            limb += 1;
        }
    }
    limbs[limb] = held;
    limbs
}

/// The big-endian bytes of a number of 256 bits in limbs of so many, none of which is negative.
pub(super) fn bytes<const BITS: u32>(limbs: &[i64; LIMBS]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (mut held, mut bits, mut limbs) = (0, 0, limbs.iter());
    for byte in bytes.iter_mut().rev() {
        if bits < 8 {
            held |= limbs.next().map_or(0, |limb| limb << bits);
            bits += BITS;
        }
        *byte = held as u8;
        held >>= 8;
        bits -= 8;
    }
    bytes
}
