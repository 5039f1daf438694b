use super::*;
use ibex_core::program::{Gather, ScatterAdd};

fn indices(count: usize, rows: usize) -> Vec<i32> {
    noise(count, 9).iter().map(|v| ((v + 1.0) * 0.55 * rows as f32) as i32 - 1).collect()
}

#[test]
fn gather_rows() {
    let Some(backends) = backends() else { return };
    for (rows, width, count) in [(7, 5, 13), (1, 1, 3), (50, 3, 200), (0, 4, 5)] {
        let index = indices(count, rows);
        let table: Vec<u32> = (0..rows * width).map(|i| (i as f32 + 0.5).to_bits()).collect();
        for (dtype, missing) in [(DType::F32, None), (DType::I32, Some(0)), (DType::Bool, Some(0))] {
            let kind = KernelKind::Gather(Gather {
                rows,
                width,
                count,
                dtype,
                table: BufferId(0),
                index: BufferId(1),
                out: BufferId(2),
            });
            let buffers = [
                bytemuck::cast_slice(&table).to_vec(),
                bytemuck::cast_slice(&index).to_vec(),
                vec![0xee; 4 * count * width],
            ];
            for backend in backends {
                let got: Vec<u32> = bytemuck::pod_collect_to_vec(&run(backend, &kind, &buffers, 2));
                for (i, &bits) in got.iter().enumerate() {
                    let row = index[i / width];
                    let inside = row >= 0 && (row as usize) < rows;
                    match missing {
                        _ if inside => assert_eq!(bits, table[row as usize * width + i % width]),
                        Some(zero) => assert_eq!(bits, zero),
                        None => assert!(f32::from_bits(bits).is_nan()),
                    }
                }
            }
        }
    }
}

#[test]
fn gather_half_floats() {
    let Some(backends) = backends() else { return };
    let (rows, width, count) = (6, 3, 7);
    let index = indices(count, rows);
    let mut table: Vec<u16> = (0..rows * width).map(|i| half::f16::from_f32(i as f32).to_bits()).collect();
    table.resize(table.len().next_multiple_of(2), 0);
    let (t, i, out) = (BufferId(0), BufferId(1), BufferId(2));
    let kind = KernelKind::Gather(Gather { rows, width, count, dtype: DType::F16, table: t, index: i, out });
    let buffers = [
        bytemuck::cast_slice(&table).to_vec(),
        bytemuck::cast_slice(&index).to_vec(),
        vec![0; (2 * count * width).next_multiple_of(4)],
    ];
    for backend in backends {
        let got: Vec<u16> = bytemuck::pod_collect_to_vec(&run(backend, &kind, &buffers, 2));
        for i in 0..count * width {
            let row = index[i / width];
            let value = half::f16::from_bits(got[i]);
            if row >= 0 && (row as usize) < rows {
                assert_eq!(value.to_f32(), (row as usize * width + i % width) as f32);
            } else {
                assert!(value.is_nan());
            }
        }
    }
}

#[test]
fn scatter_add_rows() {
    let Some(backends) = backends() else { return };
    let small = [(7, 5, 13), (3, 70, 20), (10, 1, 300), (4, 2, 0)];
    // More indices than the ordered form takes, and more of them together with columns than llvmpipe has iterations for.
    let large = [(20, 2, 5000), (5, 2, 17000), (9, 1, 70_000), (3, 1100, 4000)];
    for (rows, width, count) in small.into_iter().chain(large) {
        let index = indices(count, rows);
        let source = noise(count * width, 5);
        let mut want = vec![0.0; rows * width];
        let mut want_int = vec![0i32; rows * width];
        let ints: Vec<i32> = source.iter().map(|v| (v * 1e9) as i32).collect();
        for i in 0..count * width {
            let row = index[i / width];
            if row >= 0 && (row as usize) < rows {
                want[row as usize * width + i % width] += f64::from(source[i]);
                let at = &mut want_int[row as usize * width + i % width];
                *at = at.wrapping_add(ints[i]);
            }
        }
        for backend in backends {
            let kind = |dtype| {
                let (index, source, out) = (BufferId(0), BufferId(1), BufferId(2));
                KernelKind::ScatterAdd(ScatterAdd { rows, width, count, dtype, index, source, out })
            };
            let index: Vec<u8> = bytemuck::cast_slice(&index).to_vec();
            let out = vec![0xff; 4 * rows * width];
            let buffers = [index.clone(), bytes(&source), out.clone()];
            let got = floats(&run(backend, &kind(DType::F32), &buffers, 2));
            close(&format!("{rows} {width} {count}"), &got, &want, 1e-3);
            for dtype in [DType::I32, DType::U32] {
                let buffers = [index.clone(), bytemuck::cast_slice(&ints).to_vec(), out.clone()];
                let got: Vec<i32> = bytemuck::pod_collect_to_vec(&run(backend, &kind(dtype), &buffers, 2));
                assert_eq!(got, want_int);
            }
        }
    }
}
