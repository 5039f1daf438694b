//! What is done to numbers before training: there and back again, and mistakes.

use ibex_core::{DType, Error, ErrorKind, Tensor};
use ibex_data::*;

fn says<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("no error with {words:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.data().unwrap().to_f64()
}

/// Numbers of very different size, and one in eight missing.
fn table(seed: u64, rows: usize, columns: usize) -> Tensor {
    let words = shuffled_indices(1 << 12, seed, 0);
    let number = |i: usize| match words[i % words.len()] {
        word if word % 8 == 0 && i >= columns => f32::NAN,
        word => (word as f32 - 2048.0) * [1e-4f32, 1.0, 1e4][i % columns % 3] + 7.0,
    };
    Tensor::from_vec((0..rows * columns).map(number).collect::<Vec<f32>>(), [rows, columns])
}

#[test]
fn scaling_and_back() {
    for seed in 0..50 {
        let x = table(seed, 2 + seed as usize, 1 + seed as usize % 5);
        let standard = StandardScaler::fit(&x).unwrap();
        let minmax = MinMaxScaler::fit(&x, -1.0..=1.0).unwrap();
        for (scaled, back) in [
            (standard.transform(&x).unwrap(), standard.inverse(&standard.transform(&x).unwrap()).unwrap()),
            (minmax.transform(&x).unwrap(), minmax.inverse(&minmax.transform(&x).unwrap()).unwrap()),
        ] {
            let n = x.dim(-1);
            for (i, (x, back)) in values(&x).iter().zip(values(&back)).enumerate() {
                let largest = values(&scaled).iter().skip(i % n).step_by(n).fold(1.0f64, |a, &b| a.max(b.abs()));
                // f32 on the way: relative to what the feature is divided by and shifted by.
                let unit = standard.scale()[i % n].max(standard.mean()[i % n].abs()) * largest;
                assert_eq!(x.is_nan(), back.is_nan());
                assert!(x.is_nan() || (x - back).abs() <= 1e-6 * unit, "seed {seed}: {x} {back}");
            }
        }
        let scaled = values(&minmax.transform(&x).unwrap());
        assert!(scaled.iter().all(|v| v.is_nan() || v.abs() <= 1.0));
        let filled = Imputer::fit(&x, Fill::Mean).unwrap().transform(&x).unwrap();
        assert!(values(&filled).iter().all(|v| !v.is_nan()));
        let mean = StandardScaler::fit(&filled).unwrap();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * standard.scale()[0].max(b.abs());
        assert!(mean.mean().iter().zip(standard.mean()).all(near));
        let again = StandardScaler::new(standard.mean(), standard.scale()).unwrap();
        assert_eq!(again, standard);
    }
}

#[test]
fn scaling_says_what_it_can_not_do() {
    let x = Tensor::from_vec(vec![1f32, f32::NAN, 2., f32::NAN], [2, 2]);
    says(StandardScaler::fit(&x), ErrorKind::Value, &["feature 1 has no number"]);
    let x = Tensor::from_vec(vec![1f32, 2., 3., f32::INFINITY], [2, 2]);
    says(MinMaxScaler::fit(&x, 0.0..=1.0), ErrorKind::Value, &["feature 1 is infinite in row 1"]);
    says(MinMaxScaler::fit(&x, 1.0..=1.0), ErrorKind::Value, &["range is 1 to 1"]);
    says(Imputer::fit(&Tensor::from_vec(vec![1f32], 1), Fill::Mean), ErrorKind::Shape, &["(rows, features)"]);
    let scaler = StandardScaler::fit(&Tensor::from_vec(vec![1f32, 2.], [2, 1])).unwrap();
    says(scaler.transform(&x), ErrorKind::Shape, &["StandardScaler", "1 features"]);
    says(StandardScaler::new([0.0], [0.0]), ErrorKind::Value, &["positive"]);
    let lazy = Tensor::from_vec(vec![1f32, 2.], [2, 1]).add(1.0);
    says(scaler.transform(&lazy), ErrorKind::Value, &["not computed yet"]);
    says(normalize(&x, 2, 2.0), ErrorKind::Value, &["no axis 2"]);
    says(normalize(&x, 0, f64::NAN), ErrorKind::Value, &["order is NaN"]);
    says(normalize(&x, 0, -1.0), ErrorKind::Value, &["order is -1"]);
}

#[test]
fn classes_and_back() {
    for seed in 0..50 {
        let labels: Vec<i32> = shuffled_indices(40, seed, 0).iter().map(|&i| i as i32 % 7).collect();
        let x = to_categorical(&Tensor::from_vec(labels.clone(), [5, 8]), None).unwrap();
        assert_eq!(x.shape().to_vec(), [5, 8, 7]);
        let back: Vec<i32> =
            values(&x).chunks(7).map(|row| row.iter().position(|&v| v == 1.0).unwrap() as i32).collect();
        assert_eq!(back, labels);
        assert_eq!(values(&x).iter().sum::<f64>(), 40.0);
    }
    let labels = |v: Vec<i32>| Tensor::from_vec(v.clone(), v.len());
    says(to_categorical(&labels(vec![0, -1]), None), ErrorKind::Value, &["label 1 is -1"]);
    says(to_categorical(&labels(vec![0, 3]), Some(3)), ErrorKind::Value, &["label 1 is 3", "0 to 2"]);
    says(to_categorical(&labels(vec![i32::MAX, 0, 0, 0]), None), ErrorKind::OutOfMemory, &["Sparse"]);
    says(to_categorical(&Tensor::from_vec(vec![1f32], 1), None), ErrorKind::DType, &["f32", "integers"]);
}

#[test]
fn padding_keeps_the_numbers() {
    for seed in 0..50 {
        let lengths = shuffled_indices(12, seed, 0);
        let sequences: Vec<Vec<i32>> = lengths.iter().map(|&n| (1..=n as i32).collect()).collect();
        for (padding, length) in [(End::Pre, 11), (End::Post, 20)] {
            let x = pad_sequences(&sequences, Pad::to(length).padding(padding)).unwrap();
            for (row, sequence) in values(&x).chunks(length).zip(&sequences) {
                let kept: Vec<i32> = row.iter().filter(|&&v| v != 0.0).map(|&v| v as i32).collect();
                assert_eq!(kept, *sequence);
                let zeros = if padding == End::Pre { &row[..length - kept.len()] } else { &row[kept.len()..] };
                assert!(zeros.iter().all(|&v| v == 0.0));
            }
        }
    }
    let floats = pad_sequences(&[vec![1.5f32], vec![]], Pad::default().value(0.5)).unwrap();
    assert_eq!((floats.dtype(), values(&floats)), (DType::F32, vec![1.5, 0.5]));
    says(pad_sequences::<i32>(&[[]], Pad::default()), ErrorKind::Value, &["1 sequences", "length 0"]);
    says(pad_sequences(&[[1]], Pad::to(usize::MAX)), ErrorKind::OutOfMemory, &["smaller length"]);
}

#[test]
fn parts_have_every_row_once_and_their_share_of_classes() {
    for seed in 0..40 {
        let n = 30 + seed as usize * 3;
        let class: Vec<i32> = (0..n).map(|i| [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][i % 10]).collect();
        let rows = Tensor::from_vec((0..n as i32).collect::<Vec<i32>>(), [n, 1]);
        let labels = Tensor::from_vec(class.clone(), n);
        let fractions = [0.6, 0.25, 0.15];
        for y in [labels.clone(), to_categorical(&labels, None).unwrap()] {
            let data = Dataset::new(rows.clone(), y).unwrap();
            for order in [Order::Kept, Order::Shuffled(seed), Order::Stratified(seed)] {
                let parts = split_dataset(&data, fractions, order).unwrap();
                let mut all: Vec<f64> = parts.iter().flat_map(|part| values(&part.x)).collect();
                if order == Order::Kept {
                    assert!(all.is_sorted());
                }
                all.sort_by(f64::total_cmp);
                assert_eq!(all, (0..n).map(|i| i as f64).collect::<Vec<f64>>());
                for (part, fraction) in parts.iter().zip(fractions) {
                    assert!((part.len() as f64 - fraction * n as f64).abs() <= 1.0);
                    if let Order::Stratified(_) = order {
                        for c in 0..3 {
                            let whole = class.iter().filter(|&&v| v == c).count() as f64;
                            let here = values(&part.x).iter().filter(|&&row| class[row as usize] == c).count() as f64;
                            assert!((here - whole * fraction).abs() <= 1.5, "{here} {whole} {fraction}");
                        }
                    }
                }
                let again = split_dataset(&data, fractions, order).unwrap();
                assert_eq!(values(&again[0].x), values(&parts[0].x));
            }
        }
    }
    let y = Tensor::from_vec(vec![0.5f32, 1.0, 2.0], 3);
    let data = Dataset::new(y.clone(), y).unwrap();
    says(split_dataset(&data, [0.5, 0.5], Order::Stratified(0)), ErrorKind::Value, &["0.5 in row 0", "class numbers"]);
    says(split_dataset(&data, [0.5, 0.6], Order::Kept), ErrorKind::Value, &["1.1 in all"]);
    says(split_dataset(&data, [1.5, -0.5], Order::Kept), ErrorKind::Value, &["positive"]);
    says(split_dataset(&data, [0.9, 0.1], Order::Kept), ErrorKind::Value, &["part 1", "empty"]);
    says(split_dataset(&data, [], Order::Kept), ErrorKind::Value, &["0 in all"]);
}

#[test]
fn windows_say_what_does_not_fit() {
    let series = Tensor::from_vec((0..20).collect::<Vec<i32>>(), [10, 2]);
    let x = Windows::of(2).stride(4).cut(&series).unwrap();
    assert_eq!((x.shape().to_vec(), x.dtype()), (vec![3, 2, 2], DType::I32));
    assert_eq!(values(&x), [0., 1., 2., 3., 8., 9., 10., 11., 16., 17., 18., 19.]);
    let short = Tensor::from_vec(vec![1f32, 2., 3.], [3, 1]);
    let data = Windows::of(2).range(1..10).with_targets(&series, &short).unwrap();
    assert_eq!((data.len(), data.y.shape().to_vec(), values(&data.y)), (2, vec![2, 1], vec![2., 3.]));
    says(Windows::of(0).cut(&series), ErrorKind::Value, &["length is 0"]);
    says(Windows::of(2).stride(0).cut(&series), ErrorKind::Value, &["stride 0"]);
    says(Windows::of(11).cut(&series), ErrorKind::Value, &["11 steps", "smaller length"]);
    says(Windows::of(2).rate(usize::MAX).cut(&series), ErrorKind::Value, &["fits"]);
    says(Windows::of(2).range(5..11).cut(&series), ErrorKind::Value, &["5..11", "10 steps"]);
    says(Windows::of(2).range(5..5).cut(&series), ErrorKind::Value, &["empty"]);
    says(Windows::of(2).range(5..9).with_targets(&series, &short), ErrorKind::Value, &["3 targets"]);
    says(Windows::of(2).cut(&Tensor::scalar(1f32)), ErrorKind::Shape, &["(steps, ..)"]);
}

#[test]
fn words_and_back() {
    let words = WordIndex::of(["It's GOOD, <br />good!", "bad; it's   bad good"]);
    assert_eq!(words.words(), ["good", "it's", "bad", "br"]);
    let all = Encoding::default();
    for text in ["good bad it's", "br", "bad bad bad"] {
        assert_eq!(words.decode(&words.encode(text, &all), &all), format!("[START] {text}"));
    }
    assert_eq!(words.decode(&[0, 0, 1, 99, i32::MIN, 3], &all), "[START] [OOV] [OOV] [OOV]");
    assert_eq!(words.encode("", &all), [1]);
    let sequences = Sequences { x: vec![vec![1]], y: vec![] };
    says(sequences.padded(Pad::default()), ErrorKind::Value, &["1 sequences with 0 labels"]);
}
