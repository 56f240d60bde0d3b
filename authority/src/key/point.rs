//! Points of P-256 that are not the identity, for verification: how they are added up.
//!
//! The formulas for a sum do not hold for two equal or opposite points. That shows, always: what is to be divided by
//! is zero then.

use super::field::Fe;

/// A point with both its coordinates, tight or the negative of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) x: Fe,
    pub(super) y: Fe,
}

/// A point of a table, with coordinates of at most `1.5p` in absolute value, or its negative. (What is this large is
/// referred to, and changed in place: a VM leaves copying more than a few words to its host.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiple<'a> {
    pub(super) point: &'a Affine,
    pub(super) negative: bool,
}

/// A point as `(X/ZZ, Y/ZZZ)` with `ZZ^3 = ZZZ^2`, all tight; `X` at most `7p`, `Y` `3p`, `ZZ` and `ZZZ` `1.3p` in
/// absolute value. (Explicit-Formulas Database of D. J. Bernstein and T. Lange, "XYZZ coordinates": the cheapest
/// where nothing is doubled.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Extended {
    pub(super) x: Fe,
    y: Fe,
    pub(super) zz: Fe,
    zzz: Fe,
}

impl Affine {
    /// By its coordinates, 32 big-endian bytes each.
    pub(super) fn of_coordinates((x, y): ([u8; 32], [u8; 32])) -> Self {
        Self {
            x: Fe::from_bytes(&x),
            y: Fe::from_bytes(&y),
        }
    }

    /// The same point with coordinates of at most `1.5p`.
    pub(super) fn small(&self) -> Self {
        let one = Fe::one();
        Self {
            x: self.x.times(&one),
            y: self.y.times(&one),
        }
    }

    /// Twice the point. `None` if that is the identity, which no point of this curve has.
    ///
    /// Bounds, with coordinates of at most `1.5p`: the rise is at most `3.6p`, the slope `1.2p`, and the results
    /// `4.1p` and `2.8p`.
    pub(super) fn doubled(&self) -> Option<Self> {
        // The curve is `y^2 = x^3 - 3x + b`.
        let one = Fe::one();
        let third = self.x.plus(&one).times(&self.x.minus(&one).tight());
        let rise = third.plus(&third).plus(&third).tight();
        let slope = rise.times(&self.y.plus(&self.y).tight().inverse()?);
        Some(self.sum_on_line(&self.y, &slope, &self.x))
    }

    /// The sum of two points that have a line of this slope, by both `x` and by the `y` of this one, which may be the
    /// negative of what it has.
    #[inline(always)]
    fn sum_on_line(&self, y: &Fe, slope: &Fe, other_x: &Fe) -> Self {
        let x = slope.squared_minus(&self.x, other_x);
        Self {
            x,
            y: slope.times_minus(&self.x.minus(&x), y),
        }
    }
}

impl<'a> From<&'a Affine> for Multiple<'a> {
    fn from(point: &'a Affine) -> Self {
        Self {
            point,
            negative: false,
        }
    }
}

impl Multiple<'_> {
    /// Something of the first bytes and the last ones that it has in a table.
    pub(super) fn ends(&self) -> i32 {
        self.point.x.lowest_limb() ^ self.point.y.highest_limb()
    }

    fn y(&self) -> Fe {
        self.point.y.signed(self.negative)
    }
}

impl From<Multiple<'_>> for Affine {
    fn from(multiple: Multiple<'_>) -> Self {
        Self {
            x: multiple.point.x,
            y: multiple.y(),
        }
    }
}

/// The sum of each pair, the last one first, all for one inversion (P. L. Montgomery, "Speeding the Pollard and
/// Elliptic Curve Methods of Factorization", 1987, section 10.3.1). `None`, and no sums, if two are equal or opposite.
///
/// Bounds: runs and rises are at most `3p`, so products of runs, inverses and slopes are at most `1.2p`, and the sums
/// `4.1p` and `2.8p`.
pub(super) fn sums(pairs: &[[Multiple<'_>; 2]], mut take: impl FnMut(Affine)) -> Option<()> {
    let mut product = Fe::one();
    let mut before = Vec::with_capacity(pairs.len());
    for [first, second] in pairs {
        before.push(product);
        product.multiply(&second.point.x.minus(&first.point.x));
    }
    let mut inverse = product.inverse()?;
    for ([first, second], before) in pairs.iter().zip(&before).rev() {
        let (run, y) = (second.point.x.minus(&first.point.x), first.y());
        let mut slope = inverse.times(before);
        slope.multiply(&second.y().minus(&y));
        inverse.multiply(&run);
        take(first.point.sum_on_line(&y, &slope, &second.point.x));
    }
    Some(())
}

impl From<Affine> for Extended {
    fn from(point: Affine) -> Self {
        let one = Fe::one();
        Self {
            x: point.x,
            y: point.y,
            zz: one,
            zzz: one,
        }
    }
}

impl Extended {
    /// Adds another point; `ZZ` is zero if the formula does not hold, and ever after. (`madd-2008-s`: 8
    /// multiplications and 2 squarings.)
    ///
    /// Bounds, with coordinates of at most `4.1p` and `2.8p` for the other: `h` is at most `8.2p`, `r` `4.2p`, `hh`
    /// `3.2p`, `hhh` `1.9p` and `v` `1.7p`, all tight; so the results are at most `6.9p`, `2.4p`, `1.2p` and `1.1p`.
    pub(super) fn add(&mut self, other: &Affine) {
        let h = other.x.times_minus(&self.zz, &self.x);
        let r = other.y.times_minus(&self.zzz, &self.y);
        let hh = h.squared();
        let hhh = h.times(&hh);
        let v = self.x.times(&hh);
        self.x.set_squared_minus(&r, &hhh, &v.plus(&v));
        self.y.subtract_from_product(&hhh, &r, &v.minus(&self.x));
        self.zz.multiply(&hh);
        self.zzz.multiply(&hhh);
    }
}

#[cfg(test)]
mod tests {
    use p256::{Scalar, elliptic_curve::PrimeField};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::key::SigningKey;

    /// So many times the generator.
    fn times(number: i64) -> Affine {
        let size = Scalar::from(number.unsigned_abs());
        let scalar = if number < 0 { -size } else { size };
        let key = SigningKey::from_bytes(&scalar.to_repr()).unwrap();
        Affine::of_coordinates(key.verifying_key().coordinates())
    }

    fn assert_same(found: &Affine, expected: i64) {
        let known = times(expected);
        assert!(found.x.minus(&known.x).is_zero(), "{expected}");
        assert!(found.y.minus(&known.y).is_zero(), "{expected}");
    }

    fn multiple(point: &Affine, negative: bool) -> Multiple<'_> {
        Multiple { point, negative }
    }

    #[test]
    fn sums_of_pairs_are_those_of_their_points() {
        let (one, five, seven) = (times(1), times(5), times(7));
        let pairs = [
            [(&one, false), (&five, false)],
            [(&five, true), (&seven, false)],
            [(&seven, false), (&one, true)],
            [(&five, true), (&one, true)],
        ];
        let pairs = pairs.map(|pair| pair.map(|(point, negative)| multiple(point, negative)));
        let mut found = Vec::new();
        sums(&pairs, |sum| found.push(sum)).unwrap();
        assert_eq!(found.len(), 4);
        for (found, expected) in found.iter().rev().zip([6, 2, 6, -6]) {
            assert_same(found, expected);
        }
    }

    #[test]
    fn two_points_without_a_line_leave_all_pairs_without_a_sum() {
        let (one, five) = (times(1), times(5));
        for negative in [false, true] {
            let pairs = [
                [(&one).into(), (&five).into()],
                [(&five).into(), multiple(&five, negative)],
            ];
            let sums = sums(&pairs, |_| panic!("a sum"));
            assert!(sums.is_none());
        }
    }

    #[test]
    fn a_point_doubled_and_doubled_again_is_four_of_it() {
        let twice = times(9).doubled().unwrap();
        assert_same(&twice, 18);
        assert_same(&twice.small().doubled().unwrap().small(), 36);
    }

    #[test]
    fn points_add_up_to_their_sum_unless_two_are_equal_or_opposite() {
        let mut total = Extended::from(times(3));
        let mut sum = 3;
        for number in [1, -9, 40, 2, -100, 7] {
            total.add(&times(number));
            sum += number;
            let known = times(sum);
            assert!(known.x.times_minus(&total.zz, &total.x).is_zero());
            assert!(known.y.times_minus(&total.zzz, &total.y).is_zero());
        }
        for number in [sum, -sum] {
            let mut total = total;
            total.add(&times(number));
            assert!(total.zz.is_zero());
            total.add(&times(1));
            assert!(total.zz.is_zero());
        }
    }
}
