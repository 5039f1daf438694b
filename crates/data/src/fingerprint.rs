//! FarmHash's 64-bit fingerprint of bytes, by which Keras spreads unknown strings over their places.

/// Odd constants of the definition.
const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The fingerprint (Pike 2014), the same on every machine and for all time.
pub(crate) fn fingerprint64(s: &[u8]) -> u64 {
    let len = s.len() as u64;
    let mul = K2.wrapping_add(len << 1);
    let end = s.len();
    match end {
        0 => K2,
        1..4 => {
            let byte = |i: usize| s.get(i).copied().map_or(0, u64::from);
            let (y, z) = (byte(0) + (byte(end >> 1) << 8), len + (byte(end - 1) << 2));
            shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        4..8 => mix(len + (word(s, 0, 4) << 3), word(s, end - 4, 4), mul),
        8..17 => {
            let (a, b) = (word(s, 0, 8).wrapping_add(K2), word(s, end - 8, 8));
            let c = b.rotate_right(37).wrapping_mul(mul).wrapping_add(a);
            let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(mul);
            mix(c, d, mul)
        }
        17..65 => middle(s, mul),
        _ => long(s),
    }
}

/// Of 17 to 64 bytes.
fn middle(s: &[u8], mul: u64) -> u64 {
    let end = s.len();
    let a = word(s, 0, 8).wrapping_mul(if end <= 32 { K1 } else { K2 });
    let b = word(s, 8, 8);
    let c = word(s, end - 8, 8).wrapping_mul(mul);
    let d = word(s, end - 16, 8).wrapping_mul(K2);
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = mix(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), mul);
    if end <= 32 {
        return z;
    }
    let (e, f) = (word(s, 16, 8).wrapping_mul(mul), word(s, 24, 8));
    let g = y.wrapping_add(word(s, end - 32, 8)).wrapping_mul(mul);
    let h = z.wrapping_add(word(s, end - 24, 8)).wrapping_mul(mul);
    let first = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    mix(first, e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g), mul)
}

/// What is carried from one block of 64 bytes to the next.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: [u64; 2],
    w: [u64; 2],
}

impl State {
    fn block(&mut self, s: &[u8], mul: u64, nine: u64) {
        let State { x, y, z, v, w } = self;
        *x = x.wrapping_add(*y).wrapping_add(v[0]).wrapping_add(word(s, 8, 8)).rotate_right(37).wrapping_mul(mul);
        *y = y.wrapping_add(v[1]).wrapping_add(word(s, 48, 8)).rotate_right(42).wrapping_mul(mul);
        *x ^= w[1].wrapping_mul(nine);
        *y = y.wrapping_add(v[0].wrapping_mul(nine)).wrapping_add(word(s, 40, 8));
        *z = z.wrapping_add(w[0]).rotate_right(33).wrapping_mul(mul);
        *v = half(s, v[1].wrapping_mul(mul), x.wrapping_add(w[0]));
        *w = half(s.get(32..).unwrap_or_default(), z.wrapping_add(w[1]), y.wrapping_add(word(s, 16, 8)));
        std::mem::swap(z, x);
    }
}

/// Of more than 64 bytes.
fn long(s: &[u8]) -> u64 {
    let y = 81u64.wrapping_mul(K1).wrapping_add(113);
    let z = shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let x = 81u64.wrapping_mul(K2).wrapping_add(word(s, 0, 8));
    let mut state = State { x, y, z, v: [0; 2], w: [0; 2] };
    // The last block holds the last 64 bytes, some of which an earlier one may have had.
    let rest = (s.len() - 1) % 64;
    let whole = s.len() - 1 - rest;
    s.get(..whole).unwrap_or_default().chunks_exact(64).for_each(|block| state.block(block, K1, 1));
    let mul = K1.wrapping_add((state.z & 0xff) << 1);
    state.w[0] = state.w[0].wrapping_add(rest as u64);
    state.v[0] = state.v[0].wrapping_add(state.w[0]);
    state.w[0] = state.w[0].wrapping_add(state.v[0]);
    state.block(s.get(s.len() - 64..).unwrap_or_default(), mul, 9);
    let State { x, y, z, v, w } = state;
    let first = mix(v[0], w[0], mul).wrapping_add(shift_mix(y).wrapping_mul(K0)).wrapping_add(z);
    mix(first, mix(v[1], w[1], mul).wrapping_add(x), mul)
}

/// 32 bytes.
fn half(s: &[u8], a: u64, b: u64) -> [u64; 2] {
    let [w, x, y, z] = [0, 8, 16, 24].map(|at| word(s, at, 8));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let all = a.wrapping_add(x).wrapping_add(y);
    [all.wrapping_add(z), b.wrapping_add(all.rotate_right(44)).wrapping_add(a)]
}

/// Two words as one.
fn mix(u: u64, v: u64, mul: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(mul));
    shift_mix((v ^ a).wrapping_mul(mul)).wrapping_mul(mul)
}

fn shift_mix(v: u64) -> u64 {
    v ^ (v >> 47)
}

/// So many bytes, the lowest first.
fn word(s: &[u8], at: usize, len: usize) -> u64 {
    let bytes = s.get(at..at + len).unwrap_or_default();
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::fingerprint64;

    /// Modulo 2^63 - 1, as TensorFlow 2.21 computes it (`tf.strings.to_hash_bucket_fast`): the first bytes of `0, 7, 14, .. mod 256`.
    #[test]
    fn of_every_length() {
        let bytes: Vec<u8> = (0..300).map(|i| (7 * i % 256) as u8).collect();
        for (len, want) in [
            (0, 1_936_946_117_179_621_456),
            (1, 4_494_688_008_148_699_989),
            (2, 3_713_569_988_169_443_241),
            (3, 7_836_721_383_716_570_152),
            (4, 365_121_004_050_576_997),
            (7, 1_123_016_345_076_934_235),
            (8, 6_649_577_755_799_664_552),
            (16, 8_913_314_169_182_629_276),
            (17, 2_691_913_911_681_613_941),
            (32, 764_915_578_794_662_492),
            (33, 8_882_213_536_466_149_448),
            (64, 6_936_790_096_686_938_507),
            (65, 1_750_252_573_709_625_707),
            (127, 2_773_666_245_838_015_523),
            (128, 2_861_393_397_590_574_204),
            (129, 7_832_425_477_904_519_772),
            (300, 877_258_984_558_720_017),
        ] {
            assert_eq!(fingerprint64(&bytes[..len]) % (u64::MAX >> 1), want, "{len} bytes");
        }
    }
}
