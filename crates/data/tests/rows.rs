//! Shuffling, gathering, datasets and their parts.

use ibex_core::{DType, Data, Element, ErrorKind, Tensor};
use ibex_data::{Dataset, View, gather_rows, shuffled_indices, train_test_split};

fn f32s(tensor: &Tensor) -> Vec<f32> {
    f32::unwrap((**tensor.data().unwrap()).clone()).unwrap()
}

#[test]
fn a_shuffle_is_a_permutation_that_seed_and_epoch_decide() {
    for n in [0, 1, 2, 3, 100, 4097] {
        let order = shuffled_indices(n, 7, 3);
        assert_eq!(order, shuffled_indices(n, 7, 3));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        if n >= 100 {
            assert_ne!(order, sorted);
            assert_ne!(order, shuffled_indices(n, 8, 3));
            assert_ne!(order, shuffled_indices(n, 7 + (1 << 32), 3));
            assert_ne!(order, shuffled_indices(n, 7, 4));
        }
    }
}

/// The order is a promise: a resumed run, perhaps of a later version, must see the same batches. The numbers are those of
/// the same method written again in another language.
#[test]
fn the_order_never_changes() {
    assert_eq!(shuffled_indices(10, 42, 0), [5, 2, 8, 0, 6, 9, 1, 4, 7, 3]);
    assert_eq!(shuffled_indices(10, (1 << 40) + 42, 7), [0, 1, 7, 6, 2, 3, 5, 4, 9, 8]);
}

#[test]
fn every_order_is_equally_likely() {
    const ROUNDS: u32 = 24_000;
    let mut counts = std::collections::HashMap::new();
    for epoch in 0..ROUNDS {
        *counts.entry(shuffled_indices(4, 1, epoch)).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 24);
    let expected = f64::from(ROUNDS) / 24.0;
    let chi2: f64 = counts.values().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
    // 23 degrees of freedom: more than 49.7 has a chance of 0.1%.
    assert!(chi2 < 49.7, "chi-squared {chi2}");
}

#[test]
fn gathering_copies_the_rows_asked_for_and_zeroes_the_rest() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool] {
        for (count, row) in [(1, 1), (5, 3), (40, 7), (9, 28)] {
            let data = Data::from_f64(dtype, &(0..count * row).map(|i| (i % 97) as f64).collect::<Vec<_>>());
            let all = data.to_f64();
            let orders: [Vec<u32>; 4] = [
                (0..count as u32).collect(),
                (count as u32 / 2..count as u32).collect(),
                shuffled_indices(count as u32, 5, 0),
                vec![count as u32 - 1, 0, 0, count as u32 - 1],
            ];
            for order in orders {
                let mut out = Data::from_f64(dtype, &vec![1.0; order.len() * row + 5]);
                gather_rows(&data, row, &order, out.as_bytes_mut()).unwrap();
                let mut want: Vec<f64> = Vec::new();
                for &i in &order {
                    want.extend_from_slice(&all[i as usize * row..][..row]);
                }
                want.extend([0.0; 5]);
                assert_eq!(out.to_f64(), want, "{dtype} {count}x{row} {order:?}");
            }
        }
    }
    // Rows without elements, and no rows.
    gather_rows(&Data::F32(vec![]), 0, &[3, 1], &mut []).unwrap();
    gather_rows(&Data::F32(vec![]), 4, &[], &mut []).unwrap();
}

#[test]
fn gathering_refuses_what_does_not_fit() {
    let data = Data::F32(vec![0.0; 12]);
    for bad in [&[4][..], &[3, 4], &[0, 9], &[u32::MAX - 1, u32::MAX], &[u32::MAX, 0]] {
        let error = gather_rows(&data, 3, bad, &mut [0; 24]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Value);
        assert!(error.to_string().contains("4 rows"), "{error}");
    }
    assert_eq!(gather_rows(&data, 3, &[0, 1], &mut [0; 23]).unwrap_err().kind(), ErrorKind::Shape);
    assert_eq!(gather_rows(&data, usize::MAX, &[0, 1], &mut [0; 23]).unwrap_err().kind(), ErrorKind::Shape);
}

#[test]
fn a_dataset_needs_one_target_for_each_example() {
    let t = |n: usize, shape: &[usize]| Tensor::from_vec(vec![0f32; n], shape);
    let error = Dataset::new(t(12, &[4, 3]), t(5, &[5])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("(4, 3)") && error.to_string().contains("(5,)"), "{error}");
    assert_eq!(Dataset::new(t(1, &[]), t(5, &[5])).unwrap_err().kind(), ErrorKind::Shape);
    let data = Dataset::new(t(12, &[4, 3]), t(4, &[4])).unwrap();
    assert_eq!((data.len(), data.is_empty()), (4, false));
    assert!(Dataset::new(t(0, &[0, 3]), t(0, &[0])).unwrap().is_empty());
}

fn counted(n: usize) -> Dataset {
    let x = (0..n * 2).map(|i| (i / 2) as f32).collect();
    Dataset::new(Tensor::from_vec(x, [n, 2]), Tensor::from_vec((0..n as i32).collect(), n)).unwrap()
}

#[test]
fn views_share_memory() {
    let data = counted(10);
    let (train, validation) = data.split_at(8).unwrap();
    assert_eq!((train.len(), validation.len()), (8, 2));
    assert_eq!(validation.indices(), [8, 9]);
    assert!(std::sync::Arc::ptr_eq(data.x.data().unwrap(), validation.dataset().x.data().unwrap()));
    let mut shuffled = validation.shuffled(1, 1);
    shuffled.sort_unstable();
    assert_eq!(shuffled, [8, 9]);
    assert_eq!(View::from(&data).len(), 10);
    assert!(data.split_at(10).unwrap().1.is_empty());
    assert_eq!(data.split_at(11).unwrap_err().kind(), ErrorKind::Value);
}

#[test]
fn a_split_keeps_examples_and_targets_together() {
    let data = counted(10);
    let split = train_test_split(&data, 0.25, 3).unwrap();
    assert_eq!((split.train.len(), split.test.len()), (7, 3));
    let mut seen = Vec::new();
    for part in [&split.train, &split.test] {
        assert_eq!(part.x.shape().to_vec(), [part.len(), 2]);
        let y = i32::unwrap((**part.y.data().unwrap()).clone()).unwrap();
        let x = f32s(&part.x);
        for (pair, &y) in x.chunks(2).zip(&y) {
            assert_eq!(pair, [y as f32; 2]);
        }
        seen.extend(y);
    }
    assert_ne!(seen, (0..10).collect::<Vec<_>>());
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());

    // Both parts have one example at least.
    let tiny = train_test_split(&counted(2), 0.01, 0).unwrap();
    assert_eq!((tiny.train.len(), tiny.test.len()), (1, 1));
    for fraction in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(train_test_split(&data, fraction, 3).unwrap_err().kind(), ErrorKind::Value);
    }
    assert_eq!(train_test_split(&counted(1), 0.5, 3).unwrap_err().kind(), ErrorKind::Value);
}
