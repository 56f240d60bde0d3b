//! The field, held against schoolbook arithmetic.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

/// Schoolbook arithmetic modulo `p` on bytes: slow, and with nothing in common with the above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain([u8; 32]);

impl Plain {
    fn of(value: Fe) -> Self {
        let limbs = value.canonical();
        assert!(
            limbs.iter().all(|limb| *limb >= 0) && limbs[8] < 1 << 24,
            "{limbs:?}"
        );
        Self(bytes::<BITS>(&limbs))
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

fn product_minus_product(a: &Fe, b: &Fe, c: &Fe, d: &Fe) -> Fe {
    let mut result = *c;
    result.subtract_from_product(d, a, b);
    result
}

fn product_in_place(a: &Fe, b: &Fe) -> Fe {
    let mut result = *a;
    result.multiply(b);
    result
}

fn assert_tight(value: &Fe) {
    let (highest, lower) = value.0.split_last().unwrap();
    assert!(
        lower.iter().all(|limb| (0..1 << 29).contains(limb)) && highest.unsigned_abs() <= 1 << 28,
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
        assert_eq!(Plain::of(a.signed(true).plus(&a)), Plain([0; 32]));
        let (product, square) = (plain_a.times(plain_b), plain_a.times(plain_a));
        let [less_c, less_d] = [plain_c, plain_d].map(Plain::negated);
        for (found, expected) in [
            (a.times(&b), product),
            (product_in_place(&a, &b), product),
            (a.signed(true).times(&b), product.negated()),
            (a.squared(), square),
            (a.minus(&b).tight(), plain_a.plus(plain_b.negated())),
            (a.times_minus(&b, &c), product.plus(less_c)),
            (
                product_minus_product(&a, &b, &c, &d),
                product.plus(plain_c.times(less_d)),
            ),
            (a.squared_minus(&c, &d), square.plus(less_c).plus(less_d)),
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
                Plain::of(value.times(&value.inverse().unwrap())),
                Plain::of(Fe::one())
            );
        }
    }
    assert!(Fe::ZERO.inverse().is_none());
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
        for negative in [one, one.signed(true)] {
            assert_tight(&product_minus_product(&one, &other, &negative, &other));
        }
    }
}
