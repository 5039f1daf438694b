//! Tensors as text: the numbers as NumPy prints them, then element type and shape.

use super::Tensor;
use crate::graph::Op;
use crate::{Data, Result, Shape};
use half::{bf16, f16};
use std::fmt;

/// Larger tensors are printed by the first and last [`EDGE`] elements of each axis.
const MOST: usize = 1000;
const EDGE: usize = 3;

/// Most numbers that `{:?}` shows.
const FEW: usize = 10;

/// Digits after the point, and columns of a line.
const DIGITS: usize = 8;
const WIDTH: usize = 75;

/// The numbers, in nested brackets as NumPy prints them, then the element type and the shape; of more than 1000 numbers the first and last
/// three of each axis. Numbers in device memory are read for it, except in a browser. A tensor that is not computed yet says so, and one that carries an
/// error shows it.
///
/// ```
/// use ibex_core::Tensor;
/// let x = Tensor::from([[1.0, 2.5], [-3.0, 4.0]]);
/// assert_eq!(x.to_string(), "[[ 1.   2.5]\n [-3.   4. ]] f32 (2, 2)");
/// ```
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dtype, shape) = (self.dtype(), self.shape());
        if let Err(error) = self.check() {
            return write!(f, "Tensor(error: {error})");
        }
        match (numbers(self), self.op()) {
            (Some(Ok(data)), _) => write!(f, "{} {dtype} {shape}", text(&data, shape)),
            (Some(Err(error)), _) => write!(f, "Tensor({dtype} {shape} that can not be read: {error})"),
            (None, Op::Stored(_)) => write!(f, "Tensor({dtype} {shape} in device memory; `read` gives the numbers)"),
            (None, Op::Input(_) | Op::Variable(_)) => {
                write!(f, "Tensor({dtype} {shape} of a traced function, without a value until that runs)")
            }
            (None, op) => write!(f, "Tensor({dtype} {shape} by {}, not computed yet; `eval` computes it)", op.name()),
        }
    }
}

/// What it is, and the numbers if they are few and in host memory.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(error) = self.check() {
            return write!(f, "Tensor(error: {error})");
        }
        write!(f, "Tensor({} {} {}", self.op().name(), self.dtype(), self.shape())?;
        let here = matches!(self.op(), Op::Constant(_) | Op::Full(_)) && self.shape().elements() <= FEW;
        if let Some(Ok(data)) = here.then(|| numbers(self)).flatten() {
            let text = text(&data, self.shape());
            write!(f, " {}", text.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        f.write_str(")")
    }
}

fn is_cut(shape: &[usize]) -> bool {
    shape.iter().fold(1usize, |n, &len| n.saturating_mul(len)) > MOST
}

/// The coordinates along an axis that are printed.
fn shown(len: usize, cut: bool) -> Vec<usize> {
    match cut && len > 2 * EDGE {
        true => (0..EDGE).chain(len - EDGE..len).collect(),
        false => (0..len).collect(),
    }
}

/// The numbers that are printed, in row-major order; `None` if there are none yet.
fn numbers(tensor: &Tensor) -> Option<Result<Data>> {
    let shape = tensor.shape();
    let axes: Vec<Vec<usize>> = shape.iter().map(|&len| shown(len, is_cut(shape))).collect();
    let count = axes.iter().map(Vec::len).product();
    match tensor.op() {
        Op::Full(value) => Some(Ok(Data::from_f64(tensor.dtype(), &vec![value.to_f64(); count]))),
        Op::Constant(literal) => {
            let places = axes.iter().zip(shape.iter()).fold(vec![0], |places: Vec<usize>, (axis, len)| {
                places.iter().flat_map(|place| axis.iter().map(move |i| place * len + i)).collect()
            });
            Some(Ok(picked(&literal.0, &places)))
        }
        #[cfg(not(target_arch = "wasm32"))]
        Op::Stored(stored) => {
            let edges = |x: Tensor, axis: usize| match axes[axis].len() < shape[axis] {
                true => {
                    let (axis, last) = (axis as isize, shape[axis] - EDGE);
                    Tensor::concat(&[x.narrow(axis, 0, EDGE), x.narrow(axis, last, EDGE)], axis)
                }
                false => x,
            };
            Some(stored.0.device.read_now(&(0..shape.rank()).fold(tensor.clone(), edges)))
        }
        _ => None,
    }
}

fn picked(data: &Data, places: &[usize]) -> Data {
    fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
        places.iter().filter_map(|&place| values.get(place).copied()).collect()
    }
    match data {
        Data::F32(v) => Data::F32(pick(v, places)),
        Data::F16(v) => Data::F16(pick(v, places)),
        Data::BF16(v) => Data::BF16(pick(v, places)),
        Data::I32(v) => Data::I32(pick(v, places)),
        Data::U32(v) => Data::U32(pick(v, places)),
        Data::Bool(v) => Data::Bool(pick(v, places)),
    }
}

/// Numbers of one width each, in brackets.
fn text(data: &Data, shape: &Shape) -> String {
    if shape.contains(&0) {
        return "[]".into();
    }
    let floats = |values: Vec<f64>| match shape.rank() {
        0 => values.iter().map(|v| format!("{v:?}")).collect(),
        _ => aligned(&values),
    };
    let words: Vec<String> = match data {
        Data::F32(v) => floats(v.iter().map(|v| v.to_string().parse().unwrap_or(f64::NAN)).collect()),
        Data::F16(v) => floats(v.iter().map(|&v| shortest(v.to_f64(), |d| f16::from_f64(d) == v)).collect()),
        Data::BF16(v) => floats(v.iter().map(|&v| shortest(v.to_f64(), |d| bf16::from_f64(d) == v)).collect()),
        Data::I32(v) => v.iter().map(i32::to_string).collect(),
        Data::U32(v) => v.iter().map(u32::to_string).collect(),
        Data::Bool(v) => v.iter().map(|&v| (v != 0).to_string()).collect(),
    };
    let width = words.iter().map(String::len).max().unwrap_or_default();
    let words = words.into_iter().map(|word| format!("{word:>width$}"));
    brackets(&mut words.collect::<Vec<_>>().into_iter(), shape, is_cut(shape), 1)
}

/// The decimal number with the fewest digits that stands for `value`.
fn shortest(value: f64, stands_for: impl Fn(f64) -> bool) -> f64 {
    let decimal = |digits: usize| format!("{value:.digits$e}").parse().unwrap_or(value);
    (0..6).map(decimal).find(|&d| stands_for(d)).unwrap_or(value)
}

/// Numbers with their points below each other: with exponents where they are very large, very small or of very different sizes.
fn aligned(values: &[f64]) -> Vec<String> {
    let sizes = values.iter().map(|v| v.abs()).filter(|v| v.is_finite() && *v != 0.0);
    let (least, most) = sizes.fold((f64::INFINITY, 0.0f64), |(least, most), v| (least.min(v), most.max(v)));
    let exponents = most > 0.0 && (most >= 1e8 || least < 1e-4 || most / least > 1000.0);
    let parts: Vec<(String, String, String)> = values.iter().map(|v| parts(*v, exponents)).collect();
    let digits = parts.iter().map(|(_, fraction, _)| fraction.len()).max().unwrap_or_default();
    let word = |(value, (whole, fraction, exponent)): (&f64, &(String, String, String))| match value.is_finite() {
        true if exponents => format!("{whole}.{fraction:0<digits$}{exponent}"),
        true => format!("{whole}.{fraction:<digits$}"),
        false => value.to_string().to_lowercase(),
    };
    values.iter().zip(&parts).map(word).collect()
}

/// What stands before the point, after it, and as an exponent.
fn parts(value: f64, exponent: bool) -> (String, String, String) {
    if !value.is_finite() {
        return Default::default();
    }
    let number = match exponent {
        true => format!("{value:e}"),
        false => value.to_string(),
    };
    let (number, power) = number.split_once('e').unwrap_or((&number, ""));
    let fraction = number.split_once('.').map_or("", |(_, fraction)| fraction);
    let rounded = match (fraction.len() > DIGITS, exponent) {
        (false, _) => number.to_string(),
        (true, true) => format!("{value:.DIGITS$e}"),
        (true, false) => format!("{value:.DIGITS$}"),
    };
    let (number, power) = rounded.split_once('e').unwrap_or((&rounded, power));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let power: i32 = power.parse().unwrap_or_default();
    let sign = if power < 0 { '-' } else { '+' };
    let exponent = if exponent { format!("e{sign}{:02}", power.abs()) } else { String::new() };
    (whole.into(), fraction.trim_end_matches('0').into(), exponent)
}

/// The next words in the brackets of the axes, `indent` columns from the left.
fn brackets(words: &mut impl Iterator<Item = String>, shape: &[usize], cut: bool, indent: usize) -> String {
    let Some((&len, inner)) = shape.split_first() else { return words.next().unwrap_or_default() };
    let count = shown(len, cut).len();
    let mut parts: Vec<String> = (0..count).map(|_| brackets(words, inner, cut, indent + 1)).collect();
    if count < len {
        parts.insert(EDGE, "...".into());
    }
    let margin = " ".repeat(indent);
    if !inner.is_empty() {
        return format!("[{}]", parts.join(&format!("{}{margin}", "\n".repeat(inner.len()))));
    }
    // Rows are wrapped.
    let (mut lines, mut line) = (String::new(), margin.clone());
    for part in parts {
        if line.len() + part.len() > WIDTH.saturating_sub(indent) && line.len() > indent {
            lines += line.trim_end();
            lines.push('\n');
            line.clone_from(&margin);
        }
        line += &part;
        line.push(' ');
    }
    lines += line.strip_suffix(' ').unwrap_or(&line);
    format!("[{}]", lines.get(indent..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Error};

    fn ramp(len: usize, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_vec((0..len).map(|v| v as f32).collect::<Vec<_>>(), shape)
    }

    /// What NumPy 2.4.6 prints of the same numbers.
    #[test]
    fn numbers_are_printed_as_numpy_does() {
        let eighths: Vec<f32> = (0..1200).map(|v| v as f32 / 8.0).collect();
        let steps: Vec<f32> = (0..25).map(|v| v as f32 * 1.25).collect();
        let halves = |v: [f32; 3]| Tensor::from(v.map(f16::from_f32));
        for (tensor, numpy) in [
            (Tensor::from([[1.0, 2.5], [-3.0, 4.0]]), "[[ 1.   2.5]\n [-3.   4. ]]"),
            (
                Tensor::from([0.1, 1.0 / 3.0, f32::NAN, f32::NEG_INFINITY, -0.0]),
                "[ 0.1         0.33333334         nan        -inf -0.        ]",
            ),
            (Tensor::from([1e-5, 1.0, 123456.7]), "[1.000000e-05 1.000000e+00 1.234567e+05]"),
            (Tensor::from([1.0 + f32::EPSILON, std::f32::consts::PI]), "[1.0000001 3.1415927]"),
            (Tensor::from([1e10, -2.5e-7]), "[ 1.0e+10 -2.5e-07]"),
            (Tensor::from([123456789.0, f32::NAN, -1e-30]), "[ 1.2345679e+08            nan -1.0000000e-30]"),
            (halves([0.1, 2.0 / 3.0, 100.0]), "[  0.1      0.6665 100.    ]"),
            (Tensor::scalar(3.5), "3.5"),
            (Tensor::scalar(3.0), "3.0"),
            (ramp(0, [0, 3]), "[]"),
            (
                Tensor::from([[[-5, -4], [-3, -2]], [[7, 8], [9, 10]]]),
                "[[[-5 -4]\n  [-3 -2]]\n\n [[ 7  8]\n  [ 9 10]]]",
            ),
            (
                Tensor::from(steps),
                "[ 0.    1.25  2.5   3.75  5.    6.25  7.5   8.75 10.   11.25 12.5  13.75\n \
                 15.   16.25 17.5  18.75 20.   21.25 22.5  23.75 25.   26.25 27.5  28.75\n 30.  ]",
            ),
            (Tensor::from((0..1001).collect::<Vec<i32>>()), "[   0    1    2 ...  998  999 1000]"),
            (
                Tensor::from_vec(eighths, [30, 40]),
                "[[0.00000e+00 1.25000e-01 2.50000e-01 ... 4.62500e+00 4.75000e+00\n  4.87500e+00]\n \
                 [5.00000e+00 5.12500e+00 5.25000e+00 ... 9.62500e+00 9.75000e+00\n  9.87500e+00]\n \
                 [1.00000e+01 1.01250e+01 1.02500e+01 ... 1.46250e+01 1.47500e+01\n  1.48750e+01]\n ...\n \
                 [1.35000e+02 1.35125e+02 1.35250e+02 ... 1.39625e+02 1.39750e+02\n  1.39875e+02]\n \
                 [1.40000e+02 1.40125e+02 1.40250e+02 ... 1.44625e+02 1.44750e+02\n  1.44875e+02]\n \
                 [1.45000e+02 1.45125e+02 1.45250e+02 ... 1.49625e+02 1.49750e+02\n  1.49875e+02]]",
            ),
            (
                Tensor::zeros([2, 500, 2], DType::F32),
                "[[[0. 0.]\n  [0. 0.]\n  [0. 0.]\n  ...\n  [0. 0.]\n  [0. 0.]\n  [0. 0.]]\n\n \
                 [[0. 0.]\n  [0. 0.]\n  [0. 0.]\n  ...\n  [0. 0.]\n  [0. 0.]\n  [0. 0.]]]",
            ),
        ] {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            assert_eq!(tensor.to_string(), format!("{numpy} {dtype} {shape}"));
        }
        let brain = Tensor::from([0.1, 3.0].map(bf16::from_f32));
        assert_eq!(brain.to_string(), "[0.1 3. ] bf16 (2,)");
        assert_eq!(Tensor::from([true, false]).to_string(), "[ true false] bool (2,)");
        // Not a number of these is made.
        let large = Tensor::zeros([1 << 20, 1 << 20], DType::I32).to_string();
        assert!(large.starts_with("[[0 0 0 ... 0 0 0]\n") && large.ends_with("]] i32 (1048576, 1048576)"), "{large}");
    }

    #[test]
    fn what_has_no_numbers_says_why() {
        let x = Tensor::from(vec![1.0, 2.0]);
        let sum = (&x + &x).to_string();
        assert!(sum.contains("f32 (2,) by add") && sum.contains("eval"), "{sum}");
        let site = std::panic::Location::caller();
        let argument = Tensor::node(Op::Input(0), vec![], [2].into(), DType::F32, site);
        assert!(argument.to_string().contains("traced"), "{argument}");
        let bad = x.reshape([3]);
        assert!(bad.to_string().contains("reshape") && bad.to_string().contains("display.rs"), "{bad}");
        assert_eq!(format!("{bad:?}"), bad.to_string());
        assert!(Tensor::poisoned(Error::value("no such thing")).to_string().contains("no such thing"));
    }

    /// More brackets than a line has columns.
    #[test]
    fn very_many_axes() {
        let rank = 80;
        let shape = [vec![1; rank - 1], vec![2]].concat();
        let text = Tensor::zeros(shape, DType::I32).to_string();
        assert!(text.starts_with(&format!("{}0\n", "[".repeat(rank))), "{text}");
        assert!(text.contains(&format!("{}0{}", " ".repeat(rank), "]".repeat(rank))), "{text}");
    }

    #[test]
    fn debug_is_a_line() {
        assert_eq!(format!("{:?}", Tensor::from([[1.5], [2.0]])), "Tensor(constant f32 (2, 1) [[1.5] [2. ]])");
        assert_eq!(format!("{:?}", Tensor::ones([2], DType::I32)), "Tensor(full i32 (2,) [1 1])");
        assert_eq!(format!("{:?}", ramp(11, [11])), "Tensor(constant f32 (11,))");
        assert_eq!(format!("{:?}", -ramp(2, [2])), "Tensor(neg f32 (2,))");
    }
}
