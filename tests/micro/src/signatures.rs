//! What the host makes of signatures, beside what we do.

use authority::key::{VerifyingKey, host};
use base64ct::{Base64UrlUnpadded, Encoding};

/// A key's coordinates `x` and `y`, a message and a raw signature, each in base64url.
pub type Case = [String; 4];

/// One digit for each case, `1` for a good signature: by the host, by the tables, by the p256 crate.
pub type Verdicts = [String; 3];

/// What each of three ways to verify says of `cases`.
pub fn verdicts(cases: &[Case], call: host::Call) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for case in cases {
        let [x, y, message, signature] = case
            .each_ref()
            .map(|text| Base64UrlUnpadded::decode_vec(text).unwrap());
        let (x, y) = (x.as_slice().try_into(), y.as_slice().try_into());
        let key = VerifyingKey::from_coordinates(x.unwrap(), y.unwrap()).unwrap();
        let ways = [key.clone().by_host(call), key.clone().with_tables(), key];
        for (said, key) in verdicts.iter_mut().zip(ways) {
            let good = key.verifies(&message, &signature);
            said.push(if good { '1' } else { '0' });
        }
    }
    verdicts
}
