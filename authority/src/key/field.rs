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

/// Limbs of an element, and bits of a limb.
pub(super) const LIMBS: usize = 9;
const BITS: u32 = 29;
const MASK: i64 = (1 << BITS) - 1;

/// `p`.
pub(super) const MODULUS: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];
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

    /// Its negative.
    pub(super) fn negated(&self) -> Self {
        Self(self.0.map(|limb| -limb))
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

    /// `self * other - third * fourth` for little more than one product. Tight.
    pub(super) fn times_minus_product(&self, other: &Self, third: &Self, fourth: &Self) -> Self {
        reduced(|column| product(self, other, column) - product(third, fourth, column))
    }

    /// The square. Tight.
    pub(super) fn squared(&self) -> Self {
        reduced(|column| square(self, column))
    }

    /// The square less `first` and twice `second`. Tight.
    pub(super) fn squared_minus(&self, first: &Self, second: &Self) -> Self {
        reduced(|column| {
            square(self, column) - limb_above(first, column) - 2 * limb_above(second, column)
        })
    }

    /// What it counts to, between 0 and `p - 1`, in limbs between 0 and `2^29`.
    fn canonical(&self) -> [i32; LIMBS] {
        let mut one = Self::ZERO;
        one.0[0] = 1;
        // Out of Montgomery form: between 0 and `p`, both included.
        let value = self.times(&one);
        if value.0 == Self::of_limbs(P).0 {
            [0; LIMBS]
        } else {
            value.0
        }
    }

    /// Whether it is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.canonical() == [0; LIMBS]
    }

    /// Its inverse, by Fermat's little theorem; zero has none and stays zero.
    pub(super) fn inverse(&self) -> Self {
        // `p - 2` from its highest bit on.
        let mut power = Self::one();
        for bit in (0..256).rev() {
            power = power.squared();
            let limb = P[bit / BITS as usize] - if bit < BITS as usize { 2 } else { 0 };
            if (limb >> (bit % BITS as usize)) & 1 == 1 {
                power = power.times(self);
            }
        }
        power
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

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    /// Schoolbook arithmetic modulo `p` on bytes: slow, and with nothing in common with the above.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Plain([u8; 32]);

    impl Plain {
        fn of(value: Fe) -> Self {
            let limbs = value.canonical();
            let bit = |place: usize| (limbs[place / 29] >> (place % 29)) & 1;
            assert!(
                limbs.iter().all(|limb| *limb >= 0) && limbs[8] < 1 << 24,
                "{limbs:?}"
            );
            Self(std::array::from_fn(|byte| {
                let bits = (0..8).map(|place| (bit((31 - byte) * 8 + place) as u8) << place);
                bits.sum()
            }))
        }

        fn negated(self) -> Self {
            // `p - 1` times.
            let mut below = MODULUS;
            below[31] -= 1;
            self.times(Self(below))
        }

        /// `self - p` if that is not negative, with what was carried out before.
        fn reduced(self, carried: bool) -> Self {
            if !carried && self.0 < MODULUS {
                return self;
            }
            let mut borrow = 0;
            let mut out = [0; 32];
            for place in (0..32).rev() {
                let difference = i16::from(self.0[place]) - i16::from(MODULUS[place]) - borrow;
                borrow = i16::from(difference < 0);
                out[place] = (difference + (borrow << 8)) as u8;
            }
            Self(out)
        }

        fn plus(self, other: Self) -> Self {
            let mut carry = 0;
            let mut out = [0; 32];
            for place in (0..32).rev() {
                let sum = u16::from(self.0[place]) + u16::from(other.0[place]) + carry;
                carry = sum >> 8;
                out[place] = sum as u8;
            }
            Self(out).reduced(carry == 1)
        }

        fn times(self, other: Self) -> Self {
            let mut product = Self([0; 32]);
            for byte in other.0 {
                for place in (0..8).rev() {
                    product = product.plus(product);
                    if (byte >> place) & 1 == 1 {
                        product = product.plus(self);
                    }
                }
            }
            product
        }
    }

    /// Bytes that nobody chose, the same each time (xorshift64*, S. Vigna 2016).
    struct Dice(u64);

    impl Dice {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// Often with long runs of zeros and ones, where carries go wrong.
        fn bytes(&mut self) -> [u8; 32] {
            let kind = self.next();
            std::array::from_fn(|place| match (kind >> (2 * (place / 4))) & 3 {
                0 => 0,
                1 => 0xff,
                _ => self.next() as u8,
            })
        }
    }

    fn both(bytes: [u8; 32]) -> (Fe, Plain) {
        (Fe::from_bytes(&bytes), Plain(bytes).reduced(false))
    }

    fn assert_tight(value: &Fe) {
        let (highest, lower) = value.0.split_last().unwrap();
        assert!(
            lower.iter().all(|limb| (0..1 << 29).contains(limb))
                && highest.unsigned_abs() <= 1 << 28,
            "{value:?}"
        );
    }

    #[test]
    fn sums_and_products_are_those_of_plain_arithmetic() {
        let mut dice = Dice(1);
        for _ in 0..2_000 {
            let [(a, plain_a), (b, plain_b), (c, plain_c), (d, plain_d)] =
                std::array::from_fn(|_| both(dice.bytes()));
            assert_eq!(Plain::of(a), plain_a);
            assert_eq!(Plain::of(a.plus(&b)), plain_a.plus(plain_b));
            assert_eq!(Plain::of(a.minus(&b).plus(&b)), plain_a);
            assert_eq!(Plain::of(a.negated().plus(&a)), Plain([0; 32]));
            let (product, square) = (plain_a.times(plain_b), plain_a.times(plain_a));
            let [less_c, less_d] = [plain_c, plain_d].map(Plain::negated);
            for (found, expected) in [
                (a.times(&b), product),
                (a.negated().times(&b), product.negated()),
                (a.squared(), square),
                (a.minus(&b).tight(), plain_a.plus(plain_b.negated())),
                (a.times_minus(&b, &c), product.plus(less_c)),
                (
                    a.times_minus_product(&b, &c, &d),
                    product.plus(plain_c.times(less_d)),
                ),
                (
                    a.squared_minus(&c, &d),
                    square.plus(less_c).plus(less_d).plus(less_d),
                ),
            ] {
                assert_tight(&found);
                assert_eq!(Plain::of(found), expected);
            }
        }
    }

    #[test]
    fn numbers_at_the_edges_are_brought_below_the_modulus() {
        let mut below = MODULUS;
        below[31] -= 1;
        let mut above = MODULUS;
        above[30] = 0;
        above[29] = 0;
        above[28] = 0;
        let one = {
            let mut one = [0; 32];
            one[31] = 1;
            one
        };
        for bytes in [[0; 32], one, below, MODULUS, above, [0xff; 32]] {
            let (value, plain) = both(bytes);
            assert_eq!(Plain::of(value), plain);
            assert_eq!(value.is_zero(), plain == Plain([0; 32]));
        }
        assert_eq!(Plain::of(Fe::one()), Plain(one));
        assert!(Fe::from_bytes(&below).plus(&Fe::one()).is_zero());
    }

    #[test]
    fn an_element_times_its_inverse_is_one() {
        let mut dice = Dice(2);
        for _ in 0..50 {
            let (value, _) = both(dice.bytes());
            if !value.is_zero() {
                assert_eq!(
                    Plain::of(value.times(&value.inverse())),
                    Plain::of(Fe::one())
                );
            }
        }
        assert!(Fe::ZERO.inverse().is_zero());
    }

    /// Debug builds end on overflow, so this is where the bounds of the module's head would break.
    #[test]
    fn the_largest_limbs_that_are_allowed_overflow_nothing() {
        // Highest limbs as values below `16p` have them.
        let limbs = |low: i32, high: i32| {
            let mut limbs = [low; LIMBS];
            limbs[LIMBS - 1] = high;
            Fe(limbs)
        };
        let (full, top) = ((1 << 29) - 1, 1 << 27);
        for (one, other) in [(1, 1), (1, -1), (-1, 1), (-1, -1)] {
            let (one, other) = (
                limbs(one * full, one * top),
                limbs(other * full, other * top / 2),
            );
            let two = other.plus(&other);
            assert_tight(&two.tight());
            assert_tight(&one.squared());
            assert_tight(&one.times(&two));
            assert_tight(&two.times(&one));
            assert_tight(&one.times_minus(&other, &one));
            assert_tight(&one.squared_minus(&other, &other));
            for negative in [one, one.negated()] {
                assert_tight(&one.times_minus_product(&other, &negative, &other));
            }
        }
    }
}
